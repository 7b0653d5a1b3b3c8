"""The steps of fail2ban on a machine in memory. K24, K66, K87; PITFALLS 20. The real server: tests/tools."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kmuctl.model.host import Answer
from kmuctl.model.machine import Machine
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations.harden.fail2ban import fail2ban, jails
from kmuctl.operations.plan import survey
from tests.fakes import FakeHost
from tests.fakes.fail2ban import JAILS, UNIT, FakeFail2ban
from tests.golden import golden
from tests.operations.harden.scenes import but_packages, in_order, states
from tests.operations.scenes import changed, empty, go_up
from tests.support import stack

DEBIAN = Machine(distribution="debian", version="12", codename="bookworm", architecture="amd64", memory=4096)
LOG = "/opt/kmu/data/caddy/logs/access.log"
PROXIED: dict[str, Any] = {"network": {"trusted_proxies": ["192.0.2.10"]}}


@pytest.fixture
def host() -> FakeHost:
    return with_test(FakeHost())


def with_test(host: FakeHost) -> FakeHost:
    host.programs["test"] = lambda words: Answer(int(words[1] not in host.nodes), "")
    return host


@pytest.fixture
def server(host: FakeHost) -> FakeFail2ban:
    return FakeFail2ban(host)


def steps(**changes: Any) -> list[Step]:
    return but_packages(fail2ban(stack(**changes), DEBIAN))


def harden(host: FakeHost, **changes: Any) -> dict[str, Outcome]:
    return in_order(steps(**changes), host)


def text(**changes: Any) -> str:
    return jails.files(stack(**changes))[JAILS].decode()


def spared(**changes: Any) -> list[str]:
    found: list[str] = re.findall(r"(?m)^ignoreip = (.+)$", text(**changes))
    assert len({*found}) == 1
    return found[0].split()


def test_the_files_are_as_reviewed() -> None:
    for path, content in jails.files(stack(sites={"shop": {"upstream": "shop:80"}})).items():
        golden(f"harden/fail2ban/{path.removeprefix('/etc/fail2ban/')}", content.decode())


def test_where_it_failed_to_start_it_runs_with_our_jails(host: FakeHost, server: FakeFail2ban) -> None:
    assert states(harden(host)) == [State.CHANGE, State.CHANGE]
    assert (server.state, [*server.jails]) == ("active", ["sshd", "kmuctl-denied", "kmuctl-probes", "kmuctl-signin"])
    assert host.nodes[LOG].mode == 0o640


def test_the_second_run_changes_nothing(host: FakeHost, server: FakeFail2ban) -> None:
    harden(host)
    before = host.snapshot()
    assert states(harden(host)) == [State.OK, State.OK]
    assert host.snapshot() == before


def test_the_empty_log_is_no_obstacle_for_up() -> None:
    host = with_test(empty())
    FakeFail2ban(host)
    harden(host)
    go_up(host)
    assert not changed(go_up(host))
    assert states(harden(host)) == [State.OK, State.OK]


def test_caddy_s_log_is_left_alone(host: FakeHost, server: FakeFail2ban) -> None:
    host.write(LOG, b"a line\n", mode=0o640)
    harden(host)
    assert host.text(LOG) == "a line\n"


def test_caddy_s_log_is_not_read_to_see_that_it_is_there(
    host: FakeHost, server: FakeFail2ban, monkeypatch: pytest.MonkeyPatch
) -> None:
    harden(host)
    facts = host.facts
    monkeypatch.setattr(host, "facts", lambda paths: facts(path for path in paths if path != LOG))
    assert states(harden(host)) == [State.OK, State.OK]


def test_a_server_that_does_not_start_is_told_with_its_last_words(host: FakeHost, server: FakeFail2ban) -> None:
    harden(host)
    server.state, server.jails = "failed", {}
    cause = "it is failed: Server ready / ERROR Failed during configuration: no log"
    assert survey(steps(), host)[1].cause == cause
    host.programs["fail2ban-client"] = lambda words: Answer(0, "OK\n")
    server.complaint = "only when it starts"
    outcome = harden(host)["fail2ban:jails"]
    assert (outcome.state, outcome.cause) == (State.FAILED, cause)


def test_a_configuration_that_it_refuses_is_not_loaded(host: FakeHost, server: FakeFail2ban) -> None:
    harden(host)
    server.complaint = "ERROR Have not found any log file for own jail"
    outcome = harden(host, harden={"allow": ["192.0.2.0/24"]})["fail2ban:jails"]
    assert outcome.state == State.FAILED
    assert outcome.cause == f"fail2ban refuses its configuration: {server.complaint}"
    assert server.state == "active"


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("disabled", "it is disabled"),
        ("stopped", "it is inactive"),
        ("jail", "not in force yet: kmuctl-probes"),
        ("unread", "not in force yet: sshd, kmuctl-denied, kmuctl-probes and 1 more"),
        ("edited", "to write: jail.d/kmuctl.local"),
    ],
)
def test_damage_is_seen_and_mended(host: FakeHost, server: FakeFail2ban, damage: str, cause: str) -> None:
    harden(host)
    match damage:
        case "disabled":
            host.systemd.enabled.discard(UNIT)
        case "stopped":
            server.state = "inactive"
        case "jail":
            del server.jails["kmuctl-probes"]
        case "unread":
            server.jails = dict.fromkeys(server.jails, "older")
        case "edited":
            host.write(JAILS, b"[sshd]\nenabled = false\n")
    assert survey(steps(), host)[1].cause == cause
    assert states(harden(host)) == [State.OK, State.CHANGE]


def test_behind_a_proxy_pages_are_not_watched_and_it_is_said_why(host: FakeHost, server: FakeFail2ban) -> None:
    harden(host)
    outcomes = harden(host, **PROXIED)
    assert [*server.jails] == ["sshd"]
    assert "pages are not watched: behind the proxies of [network] trusted_proxies" in outcomes["fail2ban:log"].warning
    assert states(outcomes) == [State.OK, State.CHANGE]


def test_nobody_of_ours_can_be_banned() -> None:
    """PITFALLS 20: containers, the machine itself, and whom the company names."""
    allowed = {"harden": {"allow": ["198.51.100.0/28", "2001:db8::/48"]}, "network": {"subnet": "10.99.0.0/20"}}
    assert {"127.0.0.0/8", "::1", "10.99.0.0/20", "198.51.100.0/28", "2001:db8::/48"} <= {*spared(**allowed)}
    assert "203.0.113.7" in spared(host={"ipv4": "203.0.113.7"})
    assert "192.0.2.10" in spared(**PROXIED)
    assert text().count("ignorecommand = ip -o route get <ip> | grep") == len(jails.names(stack()))


def test_bans_of_pages_count_before_containers_and_those_of_ssh_on_the_machine() -> None:
    chains = dict(re.findall(r"(?ms)^\[(\S+)\]$.*?chain=([\w-]+)", text()))
    assert chains == {"sshd": "INPUT", **dict.fromkeys([jail.name for jail in jails.WEB], "DOCKER-USER")}
