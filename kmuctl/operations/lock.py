"""One kmuctl at a time, and a journal of what each did."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from kmuctl.model.errors import KmuError
from kmuctl.model.host import Host

JOURNAL_LINES = 500


@contextmanager
def locked(host: Host, folder: str, command: str) -> Iterator[None]:
    """Hold the lock of one site. Raises Busy when another kmuctl has it; the lock of a dead one is free."""
    host.make_folder(f"{folder}/state", mode=0o700, uid=0)
    with host.lock(f"{folder}/state/lock", f"`kmuctl {command}`, process {os.getpid()}, since {now()}"):
        yield


@contextmanager
def journaled(host: Host, folder: str, command: str, **details: Any) -> Iterator[dict[str, Any]]:
    """Note that a command started and how it ended; what it fills in here says more about the end.

    The start must be written, so that a full disk is known before anything is done. The end is written if it
    can be: nothing may hide what was done.
    """
    note(host, folder, {"command": command, "event": "started", **details})
    started = monotonic()
    end: dict[str, Any] = {"event": "failed"}
    try:
        yield end
    except KeyboardInterrupt:
        end["event"] = "interrupted"
        raise
    finally:
        with suppress(KmuError):
            note(host, folder, {"command": command, "seconds": round(monotonic() - started, 1), **end})


def note(host: Host, folder: str, entry: Mapping[str, Any]) -> None:
    """Add one line to the site's journal."""
    path = f"{folder}/state/journal.jsonl"
    lines = (host.read(path) or b"").decode(errors="replace").splitlines()[-JOURNAL_LINES + 1 :]
    line = json.dumps({"time": now(), **entry}, ensure_ascii=False)
    host.write(path, "\n".join([*lines, line, ""]).encode(), mode=0o600)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
