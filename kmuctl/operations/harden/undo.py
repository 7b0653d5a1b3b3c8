"""Changes that could lock the admin out: each takes itself back, unless it is confirmed from a new connection.

Arming comes before the change. From then on the machine undoes it by itself, whatever becomes of kmuctl, the link or
the power: a systemd timer that is enabled also runs after a reboot, which one of `systemd-run` would not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from kmuctl.model.errors import KmuError, StepFailed, Unreachable
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift
from kmuctl.operations.harden.dropins import run
from kmuctl.operations.harden.templates import fill
from kmuctl.operations.timers import UNITS, systemctl

STATE = "/var/lib/kmuctl"
FOLDER = f"{STATE}/undo"
NAMES = ("firewall", "ssh")
"""In the order of their work."""
PROOF_SECONDS, PAUSE_SECONDS = 20.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A change that is taken back unless confirmed."""

    name: str
    files: tuple[str, ...]
    """Put back as they are now, or removed when they are not there now."""
    restore: tuple[tuple[str, ...], ...]
    """What makes the old files count again, in this order."""
    minutes: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file as it was before the change."""

    content: bytes
    mode: int
    uid: int


Before = Mapping[str, _Kept | None]


def carry_out(host: Host, change: Guarded, prepare: Callable[[], None], cut: Callable[[], None]) -> None:
    """Arm, prepare, cut, prove by a new connection, confirm.

    `prepare` may take its time and keeps nobody out, `cut` is short. Before and after it the whole time is given anew,
    so that the undo does not strike in the middle. Where the machine cannot connect to itself, the change is left armed
    for the step that waits for the admin's confirmation.
    """
    arm(host, change)
    before = _before(host, change)
    try:
        prepare()
        _renew(host, change)
        cut()
        _renew(host, change)
        host.write(in_force(change.name), b"")
        proven = prove(host)
    except KmuError as error:
        taken_back = _undo_now(host, change, before)
        raise StepFailed(f"{error.message}; {taken_back}", hint=error.hint) from None
    if proven:
        confirm(host, change.name)


def prove(host: Host) -> bool:
    """As `enter_again`, with patience: while sshd reads its settings anew, it is away for a moment.

    A sign-in that was refused is not repeated: fail2ban counts them.
    """
    end = monotonic() + PROOF_SECONDS
    while True:
        try:
            return host.enter_again()
        except Unreachable:
            if monotonic() >= end:
                raise
        sleep(PAUSE_SECONDS)


def arm(host: Host, change: Guarded) -> None:
    """From here on the time runs. A change that is armed already keeps its first copies: they are from before it."""
    name = change.name
    _let_finish(host, name)
    if not armed(host, name):
        _copy(host, change)
    for path in (in_force(name), marker(name)):
        host.remove(path)
    start_clock(host, name, change.minutes)


def start_clock(host: Host, name: str, minutes: int) -> None:
    for path, text in unit_files(name, minutes).items():
        host.write(path, text)
    for words in (("daemon-reload",), ("enable", timer(name)), ("restart", timer(name))):
        systemctl(host, *words)


def _renew(host: Host, change: Guarded) -> None:
    """The whole time once more. Raises StepFailed when the undo was faster."""
    answer = host.run(("systemctl", "restart", timer(change.name)))
    _let_finish(host, change.name)
    if not armed(host, change.name):
        raise StepFailed(
            f"the change took longer than {change.minutes} min, so the machine undid it meanwhile",
            hint="a larger `undo_minutes` under [harden] in kmu.toml gives it more time",
        )
    if answer.code:
        raise StepFailed(f"the timer of the undo does not start: {answer.reason}")


def _let_finish(host: Host, name: str) -> None:
    """An undo that struck already: half of one helps nobody."""
    if host.query(("systemctl", "is-active", f"{unit(name)}.service")).stdout.strip() == "activating":
        host.run(("systemctl", "start", f"{unit(name)}.service"))  # joins the one that runs


def _copy(host: Host, change: Guarded) -> None:
    """The script comes last: where it is, all copies are."""
    folder = f"{FOLDER}/{change.name}"
    host.remove(folder)
    host.make_folder(STATE, mode=0o700, uid=0)
    host.make_folder(folder, mode=0o700, uid=0)
    present = host.facts(change.files)
    copies = {path: copy if path in present else "" for path, copy in _copies(change).items()}
    for path, copy in copies.items():
        if copy:
            run(host, "cp", "-a", "--", path, copy)
    host.write(f"{folder}/undo", script(change, copies), mode=0o700)


def _copies(change: Guarded) -> dict[str, str]:
    return {path: f"{FOLDER}/{change.name}/{number}" for number, path in enumerate(change.files)}


def _before(host: Reader, change: Guarded) -> Before:
    """What the copies hold, in case that the undo takes them while the change is still being made."""
    copies, undo = _copies(change), f"{FOLDER}/{change.name}/undo"
    facts = host.facts([*copies.values(), undo])
    if undo not in facts:
        raise StepFailed(f"the change of {change.name} was undone before it began")
    return {
        path: _Kept(host.read(copy) or b"", facts[copy].mode, facts[copy].uid) if copy in facts else None
        for path, copy in copies.items()
    }


def script(change: Guarded, copies: Mapping[str, str]) -> bytes:
    """What the machine runs by itself; a path without a copy was absent."""
    return _render("undo.sh", change.name, copies=copies, restore=change.restore)


def unit_files(name: str, minutes: int) -> dict[str, bytes]:
    return {
        f"{UNITS}/{unit(name)}.{kind}": _render(f"undo.{kind}", name, minutes=minutes) for kind in ("service", "timer")
    }


def _render(template: str, name: str, **more: Any) -> bytes:
    known = {"name": name, "unit": unit(name), "units": UNITS, "folder": f"{FOLDER}/{name}", "marker": marker(name)}
    return fill(template, **known, **more).encode()


def _undo_now(host: Host, change: Guarded, before: Before) -> str:
    """The link may be what broke: then the machine does it alone."""
    if not _still_armed(host, change.name):
        return _put_back(host, change, before)
    try:
        systemctl(host, "start", f"{unit(change.name)}.service")
        host.remove(marker(change.name))
    except KmuError:
        return f"the machine undoes the change by itself within {change.minutes} minutes"
    return "the change is undone"


def _still_armed(host: Reader, name: str) -> bool:
    """As far as one can see."""
    try:
        return armed(host, name)
    except KmuError:
        return True


def _put_back(host: Host, change: Guarded, before: Before) -> str:
    """The machine's undo is over, and the change went on behind it."""
    try:
        host.write_all({path: kept for path, kept in before.items() if kept})
        for path in (path for path, kept in before.items() if not kept):
            host.remove(path)
        for command in change.restore:
            run(host, *command)
        host.remove(marker(change.name))
    except KmuError as error:
        return f"what was done after that could not be undone: {error.message}"
    return "the change is undone"


def confirm(host: Host, name: str) -> None:
    """The change stays. Raises StepFailed when it has been undone meanwhile."""
    if host.facts([f"{UNITS}/{timer(name)}"]):
        systemctl(host, "disable", "--now", timer(name))
    _let_finish(host, name)
    if not armed(host, name):
        raise StepFailed(f"the change of {name} was undone at {undone(host, name)}: the confirmation came too late")
    for path in (f"{UNITS}/{timer(name)}", f"{UNITS}/{unit(name)}.service", f"{FOLDER}/{name}"):
        host.remove(path)
    systemctl(host, "daemon-reload")


def cut_off(host: Reader, name: str) -> Drift | None:
    """For the check of the step that makes the change: whatever its files say, they may not be in force."""
    if armed(host, name) and not host.facts([in_force(name)]):
        return Drift("the change was cut off in the middle")
    return None


def last_time(host: Reader, name: str) -> str:
    """What became of the last change, when that was not its confirmation; for a cause."""
    struck = undone(host, name)
    return f"; the last change was undone at {struck}: nobody had confirmed it" if struck else ""


def forget(host: Host) -> None:
    """That changes were undone before. What is undone from now on counts."""
    for path in host.facts(map(marker, NAMES)):
        host.remove(path)


def armed(host: Reader, name: str) -> bool:
    return bool(host.facts([f"{FOLDER}/{name}/undo"]))


def undone(host: Reader, name: str) -> str:
    """When the last change was undone, "" when it was not. On a full disk the marker stays empty."""
    said = host.read(marker(name))
    return "" if said is None else said.decode(errors="replace").strip() or "an unknown time"


def marker(name: str) -> str:
    return f"{STATE}/undone-{name}"


def in_force(name: str) -> str:
    """Written when the change is complete: only a session that began later can confirm it."""
    return f"{FOLDER}/{name}/in-force"


def unit(name: str) -> str:
    return f"kmuctl-undo-{name}"


def timer(name: str) -> str:
    return f"{unit(name)}.timer"
