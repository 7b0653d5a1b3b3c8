"""One kmuctl at a time, and a journal of what each did."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from time import sleep
from typing import Any

from kmuctl.model.errors import Busy, HostError
from kmuctl.model.host import Host, Reader

BOOT_ID = "/proc/sys/kernel/random/boot_id"
JOURNAL_LINES = 500
LOOKS, PAUSE_SECONDS = 10, 0.2


@dataclass(frozen=True)
class Holder:
    """A process, told apart from a later one of the same number by its boot and its start time."""

    pid: int
    started: str
    boot: str
    command: str
    since: str


@contextmanager
def locked(host: Host, folder: str, command: str) -> Iterator[None]:
    """Hold the lock of one site. Raises Busy when a living kmuctl has it; a dead one's is taken over."""
    path = f"{folder}/state/lock"
    host.make_folder(f"{folder}/state", mode=0o700, uid=0)
    while host.run(("mkdir", path)).code:
        _refuse_or_clear(host, path)
    try:
        holder = Holder(os.getpid(), _start_time(host, os.getpid()), _boot(host), command, now())
        host.write(f"{path}/holder.json", json.dumps(asdict(holder)).encode(), mode=0o600)
        yield
    finally:
        host.remove(path)


def _refuse_or_clear(host: Host, path: str) -> None:
    if host.run(("test", "-d", path)).code:
        raise HostError(f"cannot make `{path}`", hint="run it with sudo")
    holder = _holder(host, path)
    if holder and _alive(host, holder):
        raise Busy(
            f"another kmuctl is at work here: `{holder.command}`, process {holder.pid}, since {holder.since}",
            hint="wait until it is done, then run this again",
        )
    host.remove(path)


def _holder(host: Reader, path: str) -> Holder | None:
    """Whose lock it is. One that is just being made has no name on it for a moment."""
    for _ in range(LOOKS):
        if content := host.read(f"{path}/holder.json"):
            return Holder(**json.loads(content))
        sleep(PAUSE_SECONDS)
    return None


def _alive(host: Reader, holder: Holder) -> bool:
    return holder.boot == _boot(host) and holder.started == _start_time(host, holder.pid) != ""


def _boot(host: Reader) -> str:
    return (host.read(BOOT_ID) or b"").decode().strip()


def _start_time(host: Reader, pid: int) -> str:
    """Field 22 of /proc/PID/stat, in clock ticks since boot; "" when there is no such process."""
    stat = (host.read(f"/proc/{pid}/stat") or b"").decode(errors="replace")
    return stat.rsplit(")", 1)[-1].split()[19] if stat else ""


def note(host: Host, folder: str, entry: Mapping[str, Any]) -> None:
    """Add one line to the site's journal."""
    path = f"{folder}/state/journal.jsonl"
    lines = (host.read(path) or b"").decode(errors="replace").splitlines()[-JOURNAL_LINES + 1 :]
    line = json.dumps({"time": now(), **entry}, ensure_ascii=False)
    host.write(path, "\n".join([*lines, line, ""]).encode(), mode=0o600)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
