"""The site on a hardened server: brought up over SSH, reached from another host, kept by its timers."""

from __future__ import annotations

import pytest

from tests.lab.images import PARENTS
from tests.lab.stack import eventually
from tests.lab.vps import Neighbour
from tests.scenarios.admin import Admin

pytestmark = [pytest.mark.lab, pytest.mark.scenario]

FAR = 80
PUBLISHED = 8089
ADMINS_PAGE = ("-m", "http.server", "8000")


def test_a_second_up_changes_nothing(running: Admin) -> None:
    """K1: over SSH as on the machine itself."""
    report = running.report("up")
    assert report["ok"] and report["counts"]["change"] == 0, report
    assert running.report("status")["ok"]


def test_it_can_be_far_away(running: Admin) -> None:
    """K1: 80 ms for each round trip change nothing but the time."""
    with running.server.far_away(FAR) as url:
        report = running.report("--host", url, "up")
    print(f"`up` with nothing to do over {FAR} ms: {report['seconds']} s")
    assert report["ok"] and report["counts"]["change"] == 0, report


def test_declared_ports_answer_from_outside(running: Admin, visitor: Neighbour) -> None:
    """K22: each TCP port of the services, over IPv4."""
    ports = [port.number for port in running.stack.ports() if port.protocol == "tcp"]
    assert {80, 443} <= set(ports)
    closed = [port for port in ports if not visitor.reaches(running.server.address, port)]
    assert closed == []


def test_what_a_container_publishes_undeclared_is_not_reachable(running: Admin, visitor: Neighbour) -> None:
    """K26, PITFALLS 19: the engine publishes past ufw; from the machine itself it answers, from outside it does not."""
    server = running.server
    run = ("docker", "run", "--detach", "--rm", "--publish", f"{PUBLISHED}:8000", PARENTS[0], "python3")
    container = server.say(*run, *ADMINS_PAGE)
    try:
        eventually(lambda: server.reaches(server.address, PUBLISHED), what="it answers on the machine itself")
        assert not visitor.reaches(server.address, PUBLISHED)
        assert not visitor.reaches(server.address_6, PUBLISHED)
    finally:
        server.say("docker", "stop", "--time", "1", container)


def test_the_timer_runs_there_and_its_result_can_be_read(running: Admin) -> None:
    """K18: kmuctl is on the server, its timers are waiting, and what they call succeeds."""
    server = running.server
    assert "kmuctl-certs.timer" in server.say("systemctl", "list-timers", "--all")
    server.say("systemctl", "start", "kmuctl-certs.service")
    result = ("systemctl", "show", "--property=Result,ExecMainStatus", "kmuctl-certs.service")
    assert set(server.say(*result).split()) == {"Result=success", "ExecMainStatus=0"}
