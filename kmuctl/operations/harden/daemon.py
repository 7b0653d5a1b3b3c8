"""Docker's daemon.json: what the admin wrote stays, what is missing is added, and running containers survive it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.harden.units import loaded_before, unit_state

PATH, UNIT = "/etc/docker/daemon.json", "docker.service"
POOL_KEY = "default-address-pools"
POOLS = ("10.230.0.0/16", "10.229.0.0/16", "172.30.0.0/16", "172.29.0.0/16", "192.168.192.0/18", "192.168.128.0/18")
"""Ranges that few offices and VPNs use; the first two that nothing here leads to."""
POOL_SIZE, POOL_COUNT = 24, 2
OURS: dict[str, Any] = {
    "live-restore": True,  # containers outlive a restart of the engine
    "userland-proxy": False,  # containers see the client's own address, from this machine too
    "log-driver": "json-file",
    "log-opts": {"max-size": "10m", "max-file": "3"},  # else logs fill the disk
}
DEADLINE = 60


def settings_step(stack: Stack, *, after: tuple[str, ...]) -> Step:
    def check(host: Reader) -> Drift | None:
        if absent := _absent(host, stack):
            return Drift(f"to set: {few(absent, most=5)}")
        if state := unit_state(host, UNIT):
            return Drift(f"the engine is {state}")
        if loaded_before(host, UNIT, PATH):
            return Drift("the engine has not read its settings yet")
        return _contradiction(host)

    def apply(host: Host) -> None:
        before = host.read(PATH)
        wanted = {**settings(host), **_missing(host, stack)}
        _restart(host, before, json.dumps(wanted, indent=2).encode() + b"\n")

    return Step(
        name="docker:settings", check=check, apply=apply, after=after, deadline=DEADLINE,
        hint="`journalctl -u docker -n 30` says more",
    )  # fmt: skip


def settings(host: Reader) -> dict[str, Any]:
    """The file as it is. Raises HostError with the place of a mistake in it."""
    content = host.read(PATH)
    if content is None or not content.strip():
        return {}
    try:
        found = json.loads(content)
    except ValueError as error:
        raise HostError(
            f"`{PATH}` is not valid JSON: {error}", hint="mend that place; kmuctl does not touch it"
        ) from None
    if not isinstance(found, dict):
        raise HostError(f"`{PATH}` is not a JSON object", hint="mend it; kmuctl does not touch it")
    return found


def _absent(host: Reader, stack: Stack) -> list[str]:
    present = settings(host)
    return [key for key in (*OURS, POOL_KEY) if key not in present and not _goes_without(key, present)]


def _goes_without(key: str, present: dict[str, Any]) -> bool:
    """Options of a log driver that the admin chose are the admin's too."""
    return key == "log-opts" and present.get("log-driver", "json-file") != "json-file"


def _missing(host: Reader, stack: Stack) -> dict[str, Any]:
    absent = _absent(host, stack)
    pools = {POOL_KEY: [{"base": base, "size": POOL_SIZE} for base in free_pools(host, stack)]}
    return {key: value for key, value in (OURS | pools).items() if key in absent}


def free_pools(host: Reader, stack: Stack) -> list[str]:
    """Ranges for networks that nobody numbered, apart from the site's own range and all that this machine reaches."""
    taken = [ipaddress.ip_network(stack.site.network.subnet), *_routes(host)]
    free = [base for base in POOLS if not any(ipaddress.ip_network(base).overlaps(network) for network in taken)]
    if not free:
        raise StepFailed(
            "every address range that Docker could take leads elsewhere on this machine",
            hint=f'choose one yourself: "{POOL_KEY}" in {PATH}',
        )
    return free[:POOL_COUNT]


def _routes(host: Reader) -> Iterator[ipaddress.IPv4Network]:
    """Wide ones, the internet's and those of tunnels for everything, do not count: narrower routes win."""
    for route in json.loads(host.query(("ip", "-json", "-4", "route", "show", "table", "all")).stdout or "[]"):
        if route["dst"] != "default":
            network = ipaddress.IPv4Network(route["dst"], strict=False)
            if network.prefixlen >= 8:
                yield network


def _contradiction(host: Reader) -> Drift | None:
    """What the admin set otherwise is kept, and told."""
    present = settings(host)
    others = [key for key in ("live-restore", "userland-proxy") if present.get(key) != OURS[key]]
    if not others:
        return None
    said = ", ".join(f"`{key}` is {json.dumps(present[key])}" for key in others)
    return Drift(f"{PATH} says otherwise than kmuctl would, and is left so: {said}", tolerable=True)


def _restart(host: Host, before: bytes | None, content: bytes) -> None:
    """First a reload: it makes containers outlive the restart. An engine that does not start gets its old file back."""
    host.write(PATH, content)
    if not unit_state(host, UNIT):
        host.run(("systemctl", "reload", UNIT))
    host.run(("systemctl", "enable", UNIT))
    answer = host.run(("systemctl", "restart", UNIT))
    if answer.code == 0:
        return
    if before is None:
        host.remove(PATH)
    else:
        host.write(PATH, before)
    host.run(("systemctl", "reset-failed", UNIT))
    back = host.run(("systemctl", "restart", UNIT))
    state = "runs again with its old ones" if back.code == 0 else "does not start with its old ones either"
    raise StepFailed(f"the engine does not start with the new settings, and {state}: {answer.reason}")
