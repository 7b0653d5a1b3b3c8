"""What the builder asks of the Docker engine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable

LABEL = "kmuctl.lab.source"


class LabError(Exception):
    """Something the person at the keyboard can put right; shown without a traceback."""


def present(tags: Iterable[str]) -> dict[str, str]:
    """Tag -> source label, for those of the tags that the engine has."""
    command = ["docker", "image", "inspect", *tags]  # says nothing of those it has not, and fails
    found = json.loads(subprocess.run(command, check=False, capture_output=True, text=True).stdout or "[]")
    return {tag: (image["Config"]["Labels"] or {}).get(LABEL, "") for image in found for tag in image["RepoTags"]}


def run(*command: str, content: bytes | None = None) -> None:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    result = subprocess.run(command, check=False, input=content, capture_output=True, env=environment)
    if result.returncode:
        output = (result.stdout + result.stderr).decode(errors="replace")[-4000:]
        raise LabError(f"{' '.join(command)}\n{output}\nfailed with exit code {result.returncode}")


def say(text: str) -> None:
    print(f"lab: {text}", flush=True)
