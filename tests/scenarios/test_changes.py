"""A hardened server lives on: ports come and go, sshd moves, the admin comes by another way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.stack import eventually
from tests.lab.vps import Neighbour, Vps
from tests.scenarios.admin import Admin

pytestmark = [pytest.mark.lab, pytest.mark.scenario]

PORTS = "/etc/ssh/sshd_config.d/00-ports.conf"
MOVED = 2222


def toggled(document: Any) -> None:
    """Mail is switched on, or off."""
    apps = document.setdefault("apps", {})
    apps["stalwart"] = not apps.get("stalwart", True)


def rules(server: Vps) -> set[str]:
    return {line for line in server.say("ufw", "status").splitlines() if "kmuctl: " in line}


def test_only_the_ports_that_changed_change(hardened: Admin) -> None:
    """K22, K26: the site gains or loses mail: its ports, and nothing else; and back again."""
    before = rules(hardened.server)
    with hardened.edited(toggled):
        done = hardened.done("harden")
        after = rules(hardened.server)
    assert {step.partition(":")[0] for step in done} == {"firewall"}, done
    assert before ^ after == {line for line in before | after if "mail" in line}
    assert before != after
    hardened.report("harden")
    assert rules(hardened.server) == before


@contextmanager
def listening_on(server: Vps, *ports: int) -> Iterator[None]:
    lines = "".join(f"Port {port}\n" for port in ports)
    server.inside("sh", "-c", f"cat >{PORTS} && systemctl reload ssh", stdin=lines)
    try:
        yield
    finally:
        server.say("sh", "-c", f"rm -f {PORTS} && systemctl reload ssh")


def test_a_port_of_sshd_that_moved_is_followed(hardened: Admin, visitor: Neighbour) -> None:
    """K26, PITFALLS 18: first both, then the new one alone."""
    server = hardened.server
    new = ("--accept-new-host-key", "--host", server.url(port=MOVED))
    try:
        with listening_on(server, 22, MOVED):
            hardened.report("harden")
            eventually(lambda: visitor.reaches(server.address, MOVED), what="the new port is open")
        with listening_on(server, MOVED):
            hardened.report(*new, "harden")
            assert visitor.reaches(server.address, MOVED)
            assert "22/tcp" not in server.say("ufw", "status").split()
    finally:
        server.say("ufw", "allow", "22/tcp", "comment", "kmuctl: SSH")  # as on the provider's console
    hardened.report("harden")
    assert not visitor.reaches(server.address, MOVED)
    assert visitor.reaches(server.address, 22)


def test_the_admin_comes_by_ipv6_only(hardened: Admin) -> None:
    """K26: the same server, and nothing to change."""
    way = f"ssh://root@[{hardened.server.address_6}]"
    assert hardened.plan("--accept-new-host-key", "--host", way, "harden") == {}
