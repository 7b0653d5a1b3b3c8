"""Changes that could lock the admin out: each takes itself back, unless it is confirmed from a new connection.

Arming comes before the change. From then on the machine undoes it by itself, whatever becomes of kmuctl, the link or
the power: a systemd timer that is enabled also runs after a reboot, which one of `systemd-run` would not.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import monotonic, sleep
from typing import Any

from kmuctl.model.errors import HostError, KmuError, StepFailed
from kmuctl.model.host import Entry, Host, Reader
from kmuctl.model.step import Drift
from kmuctl.operations.harden.templates import fill
from kmuctl.operations.timers import UNITS, systemctl

STATE = "/var/lib/kmuctl"
FOLDER = f"{STATE}/undo"
NAMES = ("ssh", "firewall")
CONFIRM = "open a NEW session to this machine and type `kmuctl harden --confirm` there; keep this one open until then"
PROOF_SECONDS, PAUSE_SECONDS = 20.0, 1.0
GRACE_SECONDS = 60
"""After its time an undo may take so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A change that is taken back unless confirmed."""

    name: str
    files: tuple[str, ...]
    """Put back as they are now, or removed when they are not there now."""
    restore: tuple[tuple[str, ...], ...]
    """What makes the old files count again, in this order."""
    minutes: int


def carry_out(host: Host, change: Guarded, act: Callable[[], None]) -> None:
    """Arm, act, prove by a new connection, confirm.

    Where the machine cannot connect to itself, the change is left armed: `unsettled` says so until the admin confirms.
    """
    arm(host, change)
    try:
        act()
        proven = _prove(host)
    except KmuError as error:
        taken_back = _undo_now(host, change)
        raise StepFailed(f"{error.message}; {taken_back}", hint=error.hint) from None
    if proven:
        confirm(host, change.name)


def _prove(host: Host) -> bool:
    """As `enter_again`, with patience: while sshd reads its settings anew, it is away for a moment."""
    end = monotonic() + PROOF_SECONDS
    while True:
        try:
            return host.enter_again()
        except HostError:
            if monotonic() >= end:
                raise
        sleep(PAUSE_SECONDS)


def arm(host: Host, change: Guarded) -> None:
    """From here on the time runs. A change that is armed already keeps its first copies: they are from before it."""
    name = change.name
    _stop_clock(host, name)
    if not armed(host, name):
        _copy(host, change)
    host.write(f"{FOLDER}/{name}/entry", json.dumps(asdict(host.entry())).encode(), mode=0o600)
    host.remove(marker(name))
    for path, text in unit_files(change).items():
        host.write(path, text)
    for words in (("daemon-reload",), ("enable", timer(name)), ("restart", timer(name))):
        systemctl(host, *words)


def _stop_clock(host: Host, name: str) -> None:
    """So that it does not strike while it is set. What struck already is let finish: half an undo helps nobody."""
    if host.facts([f"{UNITS}/{timer(name)}"]):
        systemctl(host, "disable", "--now", timer(name))
    if host.query(("systemctl", "is-active", f"{unit(name)}.service")).stdout.strip() == "activating":
        host.run(("systemctl", "start", f"{unit(name)}.service"))  # joins the one that runs


def _copy(host: Host, change: Guarded) -> None:
    """The script comes last: where it is, all copies are."""
    folder = f"{FOLDER}/{change.name}"
    host.remove(folder)
    host.make_folder(STATE, mode=0o700, uid=0)
    host.make_folder(folder, mode=0o700, uid=0)
    present = host.facts(change.files)
    copies = {path: f"{folder}/{number}" if path in present else "" for number, path in enumerate(change.files)}
    for path, copy in copies.items():
        if copy:
            _run(host, "cp", "-a", "--", path, copy)
    host.write(f"{folder}/undo", script(change, copies), mode=0o700)


def script(change: Guarded, copies: dict[str, str]) -> bytes:
    """What the machine runs by itself; a path without a copy was absent."""
    return _render("undo.sh", change, copies=copies)


def unit_files(change: Guarded) -> dict[str, bytes]:
    return {f"{UNITS}/{unit(change.name)}.{kind}": _render(f"undo.{kind}", change) for kind in ("service", "timer")}


def _render(template: str, change: Guarded, **more: Any) -> bytes:
    known: dict[str, Any] = {
        "name": change.name, "minutes": change.minutes, "restore": change.restore, "unit": unit(change.name),
        "units": UNITS, "folder": f"{FOLDER}/{change.name}", "marker": marker(change.name),
    }  # fmt: skip
    return fill(template, **known, **more).encode()


def _undo_now(host: Host, change: Guarded) -> str:
    """The link may be what broke: then the machine does it alone."""
    try:
        systemctl(host, "start", f"{unit(change.name)}.service")
        host.remove(marker(change.name))
    except KmuError:
        return f"the machine undoes the change by itself within {change.minutes} minutes"
    return "the change is undone"


def confirm(host: Host, name: str) -> None:
    """The change stays. Raises StepFailed when it has been undone meanwhile."""
    _stop_clock(host, name)
    if struck := undone(host, name):
        raise StepFailed(f"the change of {name} was undone at {struck}: the confirmation came too late")
    for path in (f"{UNITS}/{timer(name)}", f"{UNITS}/{unit(name)}.service", f"{FOLDER}/{name}"):
        host.remove(path)
    systemctl(host, "daemon-reload")


def confirm_all(host: Host) -> list[str]:
    """The names of the changes that this session confirms. Raises HostError in the session that made one."""
    waiting = [name for name in NAMES if armed(host, name)]
    here = host.entry()
    for name in waiting:
        if _same_session(maker(host, name), here):
            raise HostError(
                f"this is the session that changed {name}: that it lives proves nothing about new ones",
                hint="open a second session beside this one, and type it there",
            )
    for name in waiting:
        confirm(host, name)
    return waiting


def maker(host: Reader, name: str) -> Entry:
    """Who made the change, and from where."""
    return Entry(**json.loads(host.read(f"{FOLDER}/{name}/entry") or b'{"user": ""}'))


def _same_session(maker_: Entry, here: Entry) -> bool:
    """On the machine's own console nobody can be locked out."""
    return here.ssh_port is not None and here.session == maker_.session


def unsettled(host: Reader, name: str) -> Drift | None:
    """For the check of the step that made the change: it does not hold before it is confirmed."""
    if struck := undone(host, name):
        return Drift(f"nobody confirmed the change, so it was undone at {struck}", hopeless=True)
    if armed(host, name):
        return Drift(f"not confirmed yet: {CONFIRM}")
    return None


def deadline(minutes: int) -> int:
    """Seconds that a step waits for the admin."""
    return minutes * 60 + GRACE_SECONDS


def armed(host: Reader, name: str) -> bool:
    return bool(host.facts([f"{FOLDER}/{name}/undo"]))


def undone(host: Reader, name: str) -> str:
    """When the last change was undone, "" when it was not."""
    return (host.read(marker(name)) or b"").decode(errors="replace").strip()


def marker(name: str) -> str:
    return f"{STATE}/undone-{name}"


def unit(name: str) -> str:
    return f"kmuctl-undo-{name}"


def timer(name: str) -> str:
    return f"{unit(name)}.timer"


def _run(host: Host, *command: str) -> None:
    answer = host.run(command)
    if answer.code:
        raise StepFailed(f"`{shlex.join(command)}` failed: {answer.reason}")
