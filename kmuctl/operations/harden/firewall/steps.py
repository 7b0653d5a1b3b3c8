"""ufw: on, closed but for what is needed, and as told in the kernel too."""

from __future__ import annotations

from dataclasses import dataclass

from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.harden import undo
from kmuctl.operations.harden.firewall import live, ufw
from kmuctl.operations.harden.firewall.openings import SSH, Opening, openings
from kmuctl.operations.timers import systemctl

NAME, UNIT = "firewall", "ufw.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Between ufw and what it should be."""

    closed: bool
    """Whatever is not allowed is kept out; what goes out is the admin's own decision."""
    ipv6: bool
    missing: list[Opening]
    outdated: list[Opening]
    enabled: bool
    at_boot: bool
    """systemd starts it; `ufw enable` does not see to that."""
    loaded: bool
    """The kernel has it all."""

    @property
    def risky(self) -> bool:
        """Could end this session, or keep out the next one."""
        closes_ssh = any(opening.purpose == SSH for opening in self.outdated)
        return closes_ssh or not (self.closed and self.ipv6 and self.enabled and self.loaded)

    def __str__(self) -> str:
        causes = (
            "" if self.enabled else "to switch on",
            "" if self.at_boot else "to start with the machine",
            "" if self.closed else "to close for all that is not allowed",
            "" if self.ipv6 else "to hold for IPv6 too",
            f"to open: {few(map(str, self.missing), most=12)}" if self.missing else "",
            f"to close: {few(map(str, self.outdated), most=12)}" if self.outdated else "",
            "" if self.loaded or not self.enabled or self.missing else "not in force: the kernel has other rules",
        )
        return "; ".join(cause for cause in causes if cause)


def differences(host: Reader, wanted: list[Opening]) -> Differences:
    told = ufw.look(host)
    missing = told.missing(wanted)
    return Differences(
        closed=told.closed,
        ipv6=told.ipv6,
        missing=missing,
        outdated=told.outdated(wanted),
        enabled=told.enabled,
        at_boot=host.query(("systemctl", "is-enabled", UNIT)).code == 0,
        loaded=told.enabled and _loaded(host, told, [opening for opening in wanted if opening not in missing]),
    )


def _loaded(host: Reader, told: ufw.State, wanted: list[Opening]) -> bool:
    families = [family for family in told.families if family in live.present_families(host)]
    return all(_in_force(live.chains(host, family), family, wanted) for family in families)


def _in_force(chains: live.Chains, family: int, wanted: list[Opening]) -> bool:
    name = "ufw6" if family == 6 else "ufw"
    entry, user = chains.get("INPUT", []), chains.get(f"{name}-user-input", [])
    hooked = ["-P", "DROP"] in entry and ["-j", f"{name}-before-input"] in entry
    return hooked and all(live.lets_in(user, opening) for opening in wanted)


def ufw_step(stack: Stack, *, after: tuple[str, ...]) -> Step:
    minutes = stack.site.harden.undo_minutes

    def check(host: Reader) -> Drift | None:
        if drift := undo.cut_off(host, NAME):
            return drift
        wanted = openings(stack, host)
        found = str(differences(host, wanted))
        return Drift(found + undo.last_time(host, NAME), hopeless=True) if found else _remarks(host, wanted)

    def apply(host: Host) -> None:
        wanted = openings(stack, host)
        found = differences(host, wanted)
        if not found.risky and not undo.armed(host, NAME):
            _open(host, found)
            _close(host, found)
            host.remove(undo.marker(NAME))
            return
        back = ("ufw", "reload") if found.enabled else ("ufw", "--force", "disable")
        change = undo.Guarded(name=NAME, files=ufw.FILES, restore=(back,), minutes=minutes)
        undo.carry_out(host, change, lambda: _open(host, found), lambda: _switch(host, wanted, reload=not found.ipv6))

    return Step(
        name="firewall:ufw", check=check, apply=apply, after=after,
        hint="`ufw status verbose` shows what is in force",
    )  # fmt: skip


def _remarks(host: Reader, wanted: list[Opening]) -> Drift | None:
    """What is the admin's own, and stays."""
    told, remarks = ufw.look(host), []
    if own := told.foreign(wanted):
        remarks.append(f"rules of your own open more: {few(map(str, own), most=6)}")
    if told.forwards:
        remarks.append("this machine forwards packets for everybody (DEFAULT_FORWARD_POLICY in /etc/default/ufw)")
    return Drift("; ".join(remarks), tolerable=True) if remarks else None


def _open(host: Host, found: Differences) -> None:
    """What keeps nobody out; SSH has its rule before the rest begins to count."""
    if not found.ipv6:
        ufw.with_ipv6(host)
    if not found.at_boot:
        systemctl(host, "enable", UNIT)
    for opening in found.missing:
        ufw.allow(host, opening)


def _close(host: Host, found: Differences) -> None:
    for opening in found.outdated:
        ufw.forget(host, opening)


def _switch(host: Host, wanted: list[Opening], *, reload: bool) -> None:
    """Everything that may cut the session."""
    found = differences(host, wanted)
    _open(host, found)
    _close(host, found)
    if not found.closed:
        ufw.told(host, "default", "deny", "incoming")
    if not found.enabled:
        ufw.told(host, "--force", "enable")
    elif reload or not differences(host, wanted).loaded:
        ufw.told(host, "reload")
