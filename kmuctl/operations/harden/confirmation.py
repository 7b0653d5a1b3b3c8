"""A change of SSH or firewall stays when somebody comes in anew: kmuctl itself, or the admin, who says so."""

from __future__ import annotations

from kmuctl.model.errors import HostError
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step
from kmuctl.operations.harden import undo

CONFIRM = "open a NEW session to this machine and type `kmuctl harden --confirm` there; keep this one open until then"
NEW_SESSION = (
    "open one NOW and type it there: by plain `ssh` (with a shared connection `ssh -S none`), not in tmux or screen"
)
GRACE_SECONDS = 60
"""After its time an undo may take so long."""


def confirm_all(host: Host) -> list[str]:
    """The names of the changes that this session confirms. Raises HostError in one that is not newer than they are."""
    names = [name for name in undo.NAMES if undo.armed(host, name)]
    here = host.entry()
    for name in names:
        fact = host.facts([undo.in_force(name)]).get(undo.in_force(name))
        if fact is None:
            hint = "when `kmuctl harden` waits for it; was that killed? Then run it again"
            raise HostError(f"the change of {name} is not complete yet, so nobody can confirm it", hint=hint)
        if not here.console and here.since <= fact.written:
            said = f"this session is not known to be newer than the change of {name}"
            raise HostError(f"{said}: that it lives proves nothing about new ones", hint=NEW_SESSION)
    for name in names:
        undo.confirm(host, name)
    return names


def confirmed_step(parts: list[str], minutes: int, *, after: tuple[str, ...]) -> Step:
    """One confirmation for all changes that wait for it; each has its whole time from when it is asked for."""

    def check(host: Reader) -> Drift | None:
        if names := waiting(host):
            return Drift(f"{' and '.join(names)} not confirmed yet: {CONFIRM}")
        lost = [f"{name} (at {struck})" for name in parts if (struck := undo.undone(host, name))]
        return Drift(f"nobody confirmed, so the machine undid: {', '.join(lost)}", hopeless=True) if lost else None

    def apply(host: Host) -> None:
        proven = undo.prove(host)
        for name in waiting(host):
            if proven:
                undo.confirm(host, name)
            else:
                undo.start_clock(host, name, minutes)

    return Step(
        name="confirmed", check=check, apply=apply, after=after, deadline=minutes * 60 + GRACE_SECONDS,
        hint="the next `kmuctl harden` makes the change anew, and waits again",
    )  # fmt: skip


def waiting(host: Reader) -> list[str]:
    """Changes that are in force, and that nobody confirmed."""
    facts = host.facts([undo.in_force(name) for name in undo.NAMES])
    return [name for name in undo.NAMES if undo.in_force(name) in facts and undo.armed(host, name)]
