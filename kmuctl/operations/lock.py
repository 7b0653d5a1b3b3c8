"""One kmuctl at a time, and a journal of what each did."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from kmuctl.model.host import Host

JOURNAL_LINES = 500


@contextmanager
def locked(host: Host, folder: str, command: str) -> Iterator[None]:
    """Hold the lock of one site. Raises Busy when another kmuctl has it; the lock of a dead one is free."""
    host.make_folder(f"{folder}/state", mode=0o700, uid=0)
    with host.lock(f"{folder}/state/lock", f"`kmuctl {command}`, process {os.getpid()}, since {now()}"):
        yield


def note(host: Host, folder: str, entry: Mapping[str, Any]) -> None:
    """Add one line to the site's journal."""
    path = f"{folder}/state/journal.jsonl"
    lines = (host.read(path) or b"").decode(errors="replace").splitlines()[-JOURNAL_LINES + 1 :]
    line = json.dumps({"time": now(), **entry}, ensure_ascii=False)
    host.write(path, "\n".join([*lines, line, ""]).encode(), mode=0o600)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
