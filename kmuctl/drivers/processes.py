"""Programs of the machine that kmuctl itself runs on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from kmuctl.model.errors import INTERRUPTED, HostError
from kmuctl.model.host import Answer

NOT_FOUND = 127
Run: TypeAlias = Callable[[Sequence[str], bytes], Answer]
"""A command and its standard input."""


def run(command: Sequence[str], stdin: bytes = b"", folder: str | None = None) -> Answer:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, cwd=folder, check=False)
    except FileNotFoundError:
        return Answer(NOT_FOUND, "", f"{command[0]}: command not found")
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def foreground(command: Sequence[str], variables: Mapping[str, str]) -> int:
    try:
        code = subprocess.run(command, check=False, env={**os.environ, **variables}).returncode
    except KeyboardInterrupt:
        return INTERRUPTED  # that is how a person ends it
    except FileNotFoundError:
        raise HostError(f"`{command[0]}` is not installed", hint="`kmuctl up` says what this machine needs") from None
    return code if code >= 0 else 128 - code
