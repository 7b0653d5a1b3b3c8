"""Ports that containers publish: Docker lets them in ahead of ufw, so they are governed where Docker asks.

A unit of its own, not ufw's `after.init`: `ufw reload` would open everything for a moment, and the file is the admin's.
Nor a rule in ufw's `after.rules`: that would empty DOCKER-USER, where fail2ban has its bans, at each reload.
"""

from __future__ import annotations

import json

from kmuctl.model.errors import HostError
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.harden.bridges import WILDCARDS, named_like_dockers
from kmuctl.operations.harden.firewall import live
from kmuctl.operations.harden.firewall.openings import Opening, site_openings
from kmuctl.operations.harden.templates import fill
from kmuctl.operations.harden.units import unit_state
from kmuctl.operations.harden.written import differing
from kmuctl.operations.timers import UNITS, systemctl

CHAIN = "KMUCTL"
UNIT = "kmuctl-containers.service"
SCRIPT = "/usr/local/lib/kmuctl/containers.sh"


def rules(openings: list[Opening]) -> list[tuple[str, ...]]:
    """The chain; what it lets pass goes on in DOCKER-USER, where others may still say no.

    A published port is known by the number that was asked for, before Docker changed it. What is not on its way to a
    container is none of our business: a VPN, virtual machines.
    """
    return [
        ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "RETURN"),
        *(("-i", bridge, "-j", "RETURN") for bridge in WILDCARDS),
        *(_declared(opening) for opening in openings),
        *(("-o", bridge, "-j", "DROP") for bridge in WILDCARDS),
    ]


def _declared(opening: Opening) -> tuple[str, ...]:
    state = ("-m", "conntrack", "--ctstate", "DNAT", "--ctorigdstport", opening.ports)
    return ("-p", opening.protocol, *state, "-j", "RETURN")


def files(stack: Stack) -> dict[str, bytes]:
    known = {"chain": CHAIN, "rules": rules(site_openings(stack)), "script": SCRIPT}
    sources = {SCRIPT: "containers.sh", f"{UNITS}/{UNIT}": UNIT}
    return {path: fill(f"firewall/{source}", **known).encode() for path, source in sources.items()}


def containers_step(stack: Stack, *, after: tuple[str, ...]) -> Step:
    wanted, chain = files(stack), rules(site_openings(stack))

    def check(host: Reader) -> Drift | None:
        _refuse_uplink(host)
        if wrong := differing(host, wanted):
            return Drift(f"to write: {few(path.rpartition('/')[2] for path in wrong)}")
        return _not_started(host) or _not_in_force(host, chain) or _ungoverned(host)

    def apply(host: Host) -> None:
        for path in differing(host, wanted):
            host.write(path, wanted[path])
        # a restart of what runs would open everything for a moment: it has a way to reload
        for words in (("daemon-reload",), ("enable", UNIT), ("reload-or-restart", UNIT)):
            systemctl(host, *words)

    return Step(
        name="firewall:containers", check=check, apply=apply, after=after,
        hint=f"`systemctl status {UNIT}` and `iptables -S DOCKER-USER` say more",
    )  # fmt: skip


def _refuse_uplink(host: Reader) -> None:
    """A bridge of the machine's own that is named like Docker's: what comes from there would pass for containers."""
    said = host.query(("ip", "-json", "route", "show", "default")).stdout.strip()
    for route in json.loads(said or "[]"):
        if named_like_dockers(route.get("dev", "")):
            raise HostError(
                f"the machine's own network is on `{route['dev']}`, which is named like a bridge of Docker's",
                hint="rename that bridge (`br0` will do), or set `firewall = false` under [harden]",
            )


def _not_started(host: Reader) -> Drift | None:
    if host.query(("systemctl", "show", "--property=NeedDaemonReload", UNIT)).stdout.strip().endswith("=yes"):
        return Drift("systemd has not read its unit yet")
    state = unit_state(host, UNIT)
    return Drift(f"its unit is {state}") if state else None


def _not_in_force(host: Reader, chain: list[tuple[str, ...]]) -> Drift | None:
    for family in live.present_families(host):
        found = live.chains(host, family)
        for entry, target in (("FORWARD", "DOCKER-USER"), ("DOCKER-USER", CHAIN)):
            if not live.jumps_to(found.get(entry, []), target):
                return Drift(f"not in force: {live.TOOLS[family]} does not lead from {entry} to {target}")
        if not _is(found.get(CHAIN, []), chain):
            return Drift(f"not in force: {live.TOOLS[family]} has another {CHAIN}")
    return None


def _ungoverned(host: Reader) -> Drift | None:
    """Told, not refused: the admin gave the network that name, and may have a reason."""
    found = [name for name in live.container_bridges(live.chains(host, 4)) if not named_like_dockers(name)]
    if not found:
        return None
    advice = "no firewall keeps anybody from what they publish, unless that name begins with `br-`"
    return Drift(f"containers are on a bridge with a name of its own, {few(found)}: {advice}", tolerable=True)


def _is(found: list[list[str]], wanted: list[tuple[str, ...]]) -> bool:
    return len(found) == len(wanted) and all(map(live.same, found, wanted))
