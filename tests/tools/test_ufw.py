"""The step of the firewall on the real ufw, in a network of its own. K26, K22, K80."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmuctl.model.errors import StepFailed
from kmuctl.model.step import Step
from kmuctl.operations.harden.firewall import ufw
from kmuctl.operations.harden.firewall.containers import containers_step
from kmuctl.operations.harden.firewall.openings import Opening, openings
from kmuctl.operations.harden.firewall.steps import ufw_step
from kmuctl.operations.harden.firewalls import other_firewalls
from tests.rendered.sites import OPTIONAL
from tests.support import stack
from tests.tools.namespaces import Place, SealedHost, place, sealed_host
from tests.tools.programs import program

pytestmark = pytest.mark.tool


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SealedHost]:
    program("ufw")
    with sealed_host(tmp_path) as host:
        yield host


FEW = {"apps": dict.fromkeys(OPTIONAL, False)}
"""ufw takes its time for each port."""


def step(**changes: Any) -> Step:
    return ufw_step(stack(**changes or FEW), after=())


def bring(host: SealedHost, **changes: Any) -> None:
    step(**changes).apply(host)
    assert step(**changes).check(host) is None


def tuples(host: SealedHost, path: str = "/etc/ufw/user.rules") -> list[str]:
    return re.findall(r"^### tuple ### (.+?)(?: comment=\w+)?$", (host.read(path) or b"").decode(), re.MULTILINE)


def test_a_fresh_ufw_is_switched_on_with_exactly_the_ports_that_are_needed(host: SealedHost) -> None:
    everything: dict[str, Any] = {"domain": "acme.example"}
    wanted = openings(stack(**everything), host)
    drift = step(**everything).check(host)
    assert drift is not None and drift.cause.startswith(f"to switch on; to open: {wanted[0]}, ")
    assert Opening("tcp", "2222") in wanted and Opening("udp", "49160:49200") in wanted
    bring(host, **everything)
    expected = [f"allow {opening.protocol} {opening.ports} {{0}} any {{0}} in" for opening in wanted]
    assert tuples(host) == [line.format("0.0.0.0/0") for line in expected]
    assert tuples(host, "/etc/ufw/user6.rules") == [line.format("::/0") for line in expected]
    assert b"ENABLED=yes" in (host.read("/etc/ufw/ufw.conf") or b"")


def test_the_second_run_writes_nothing(host: SealedHost) -> None:
    bring(host)
    before = {path: host.read(path) for path in ufw.FILES}
    step().apply(host)
    assert {path: host.read(path) for path in ufw.FILES} == before


def test_what_we_set_up_is_not_taken_for_another_firewall(host: SealedHost) -> None:
    bring(host)
    containers_step(stack(**FEW), after=()).apply(host)
    assert [*other_firewalls(host)] == []


def test_a_port_more_or_less_changes_only_that_port(host: SealedHost) -> None:
    more = {"apps": {name: name == "coturn" for name in OPTIONAL}}
    bring(host)
    before = tuples(host)
    drift = step(**more).check(host)
    assert drift is not None
    assert drift.cause == "to open: 3478/tcp, 3478/udp, 5349/tcp, 49160-49200/udp"
    bring(host, **more)
    assert tuples(host)[: len(before)] == before
    drift = step().check(host)
    assert drift is not None
    assert drift.cause == "to close: 3478/tcp, 3478/udp, 5349/tcp, 49160-49200/udp"
    bring(host)
    assert tuples(host) == before


def test_rules_of_the_admin_stay_and_are_told(host: SealedHost) -> None:
    for rule in ("limit 2222/tcp", "allow from 192.0.2.0/24", "allow 51820/udp", "deny from 198.51.100.9"):
        assert host.run(("ufw", *rule.split())).code == 0
    step().apply(host)
    drift = step().check(host)
    assert drift is not None and drift.tolerable
    assert drift.cause == "rules of your own open more: 51820/udp"
    assert {
        "limit tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in", "allow any any 0.0.0.0/0 any 192.0.2.0/24 in",
        "allow udp 51820 0.0.0.0/0 any 0.0.0.0/0 in", "deny any any 0.0.0.0/0 any 198.51.100.9 in",
    } <= {*tuples(host)}  # fmt: skip
    assert "allow tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in" not in tuples(host)


def test_a_rule_that_keeps_out_what_the_site_needs_is_replaced(host: SealedHost) -> None:
    assert host.run(("ufw", "deny", "443/tcp")).code == 0
    bring(host)
    assert [line for line in tuples(host) if " tcp 443 " in line] == ["allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 in"]


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (("iptables", "-F", "ufw-user-input"), "not in force: the kernel has other rules"),
        (("ip6tables", "-P", "INPUT", "ACCEPT"), "not in force: the kernel has other rules"),
        (("ufw", "--force", "disable"), "to switch on"),
        (("ufw", "default", "allow", "incoming"), "to close for all that is not allowed"),
        (("sed", "-i", "s/IPV6=yes/IPV6=no/", "/etc/default/ufw"), "to hold for IPv6 too"),
        (("ufw", "delete", "allow", "proto", "tcp", "to", "any", "port", "443"), "to open: 443/tcp"),
    ],
)
def test_damage_is_seen_and_mended(host: SealedHost, damage: tuple[str, ...], cause: str) -> None:
    bring(host)
    answer = host.run(damage)
    assert answer.code == 0, answer.stderr
    drift = step().check(host)
    assert drift is not None and cause in drift.cause
    bring(host)


def test_the_kernel_lets_in_what_is_open_and_nothing_else(host: SealedHost, outside: Place) -> None:
    with host.place.listening(2222, 80, 8080):
        assert [outside.reaches("10.77.0.1", port) for port in (2222, 80, 8080)] == [True, True, True]
        bring(host)
        assert [outside.reaches("10.77.0.1", port) for port in (2222, 80, 8080)] == [True, True, False]
        assert [outside.reaches("fd77::1", port) for port in (2222, 80)] == [False, False]


def test_the_undo_puts_everything_back(host: SealedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: host.read(path) for path in ufw.FILES}

    def refused() -> bool:
        raise StepFailed("the server refuses")

    monkeypatch.setattr(host, "enter_again", refused)
    with pytest.raises(StepFailed, match="the server refuses"):
        step().apply(host)
    host.run(("sh", "/var/lib/kmuctl/undo/firewall/undo"))  # its last lines need systemd
    assert {path: host.read(path) for path in ufw.FILES} == before
    assert host.run(("iptables", "-S", "INPUT")).stdout.startswith("-P INPUT ACCEPT\n")


@pytest.fixture
def outside(host: SealedHost) -> Iterator[Place]:
    """Another machine, on a cable of its own."""
    with place() as other:
        host.place.do(
            f"ip link add cable type veth peer name cable netns {other.pid}",
            "ip address add 10.77.0.1/24 dev cable",
            "ip -6 address add fd77::1/64 dev cable nodad", "ip link set cable up",
        )  # fmt: skip
        other.do(
            "ip address add 10.77.0.2/24 dev cable",
            "ip -6 address add fd77::2/64 dev cable nodad",
            "ip link set cable up",
        )
        yield other
