"""The steps of the firewall on a machine in memory. K22, K26, K80; PITFALLS 18, 19. The real ufw: tests/tools."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kmuctl.model.host import Answer, Entry
from kmuctl.model.machine import Machine
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations.harden import confirmation, undo
from kmuctl.operations.harden.firewall import firewall
from kmuctl.operations.harden.firewall.containers import files
from kmuctl.operations.harden.firewall.openings import ssh_ports
from kmuctl.operations.plan import survey
from tests.fakes import FakeHost
from tests.fakes.firewall import FakeFirewall
from tests.golden import golden
from tests.operations.harden.scenes import but_packages, in_order, states
from tests.support import stack

DEBIAN = Machine(
    distribution="debian", version="13", codename="trixie", architecture="amd64", memory=4096,
)  # fmt: skip
SITE_PORTS = ["80/tcp", "443/tcp", "443/udp"]
FEW: dict[str, Any] = {"apps": dict.fromkeys(("jitsi", "coturn", "stalwart"), False)}


@pytest.fixture
def host() -> FakeHost:
    host = FakeHost()
    host.teach("/usr/sbin/sshd", "-T", stdout="port 22\naddressfamily any\n")
    host.teach("ip", "-json", "route", "show", "default", stdout='[{"dst":"default","dev":"eth0"}]')
    host.teach("ss", "-Hltnp", stdout='LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n')
    return host


@pytest.fixture
def ufw(host: FakeHost) -> FakeFirewall:
    return FakeFirewall(host)


def steps(**changes: Any) -> list[Step]:
    return but_packages(firewall(stack(**FEW | changes), DEBIAN))


def harden(host: FakeHost, **changes: Any) -> dict[str, Outcome]:
    return in_order(steps(**changes), host)


def seen(host: FakeHost, **changes: Any) -> str:
    drift = steps(**changes)[0].check(host)
    return drift.cause if drift else ""


def test_a_fresh_machine_is_closed_but_for_ssh_and_the_site(host: FakeHost, ufw: FakeFirewall) -> None:
    golden("harden/plan-firewall.txt", "".join(f"{outcome}\n" for outcome in survey(steps(), host)))
    assert states(harden(host)) == [State.CHANGE, State.CHANGE]
    assert ufw.openings() == ["22/tcp", *SITE_PORTS]
    assert ufw.loaded


def test_the_files_are_as_reviewed() -> None:
    for path, content in files(stack()).items():
        golden(f"harden/firewall/{path.rpartition('/')[2]}", content.decode())


def test_the_second_run_changes_nothing(host: FakeHost, ufw: FakeFirewall) -> None:
    harden(host)
    before = host.snapshot()
    assert states(harden(host)) == [State.OK, State.OK]
    assert host.snapshot() == before


def test_a_port_more_changes_only_that_port_and_needs_no_confirmation(host: FakeHost, ufw: FakeFirewall) -> None:
    harden(host)
    host.lets_in = None
    more = {"apps": {**FEW["apps"], "jitsi": True}}
    assert seen(host, **more) == "to open: 10000/udp"
    assert states(harden(host, **more)) == [State.CHANGE, State.CHANGE]
    assert ufw.openings() == ["22/tcp", *SITE_PORTS, "10000/udp"]
    assert "-A KMUCTL -p udp -m conntrack --ctstate DNAT --ctorigdstport 10000 -j RETURN" in ufw.chain
    assert seen(host) == "to close: 10000/udp"


def test_ports_of_the_admin_s_own_are_open_in_ufw_and_for_containers(host: FakeHost, ufw: FakeFirewall) -> None:
    """K26: 443 is the site's already."""
    own = {"harden": {"ports": ["8081/tcp", "9000-9010/udp", "443/tcp"]}}
    harden(host, **own)
    assert ufw.openings() == ["22/tcp", *SITE_PORTS, "8081/tcp", "9000:9010/udp"]
    declared = [line.split("--ctorigdstport ")[1] for line in ufw.chain if "--ctorigdstport" in line]
    assert declared == [f"{port} -j RETURN" for port in ("80", "443", "443", "8081", "9000:9010")]
    assert states(harden(host, **own)) == [State.OK, State.OK]
    assert seen(host) == "to close: 8081/tcp, 9000-9010/udp"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("-A FORWARD -o shop -j DOCKER", True),
        ("-A DOCKER-BRIDGE -o shop -j DOCKER", True),
        ("-A DOCKER-BRIDGE -o docker0 -j DOCKER", False),
        ("-A FORWARD -o br-0123456789ab -j DOCKER", False),
        ("-A FORWARD -o wg0 -j ACCEPT", False),
    ],
)
def test_a_bridge_that_our_rules_do_not_know_is_told(host: FakeHost, ufw: FakeFirewall, rule: str, told: bool) -> None:
    harden(host)
    ufw.docker.append(rule)
    outcome = harden(host)["firewall:containers"]
    assert outcome.state is State.OK
    assert outcome.warning.startswith("containers are on a bridge with a name of its own, shop") is told


@pytest.mark.parametrize(
    ("state", "cause"), [("failed", "its unit is failed"), ("activating", "its unit is activating")]
)
def test_rules_that_did_not_load_at_boot_are_seen(
    host: FakeHost, ufw: FakeFirewall, monkeypatch: pytest.MonkeyPatch, state: str, cause: str
) -> None:
    """Docker starts all the same: somebody has to hear of it."""
    harden(host)
    look = host.systemd.look
    failing = {("is-active", "kmuctl-containers.service"): Answer(3, f"{state}\n")}
    monkeypatch.setattr(host.systemd, "look", lambda words: failing.get(words) or look(words))
    assert survey(steps(), host)[1].cause == cause


@pytest.mark.parametrize(
    ("sshd", "listener", "socket", "came", "expected"),
    [
        ("port 22\nport 2022\n", "", "", None, {22, 2022}),
        ("port 2022\n", '0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))', "", None, {22, 2022}),
        ("", '[::]:2022 [::]:* users:(("sshd",pid=1,fd=3))', "", None, {2022}),
        ("", '127.0.0.1:6010 0.0.0.0:* users:(("sshd",pid=9,fd=9))', "", None, set()),
        ("", '[::1]:8080 [::]:* users:(("sshd",pid=9,fd=9))', "", None, set()),
        ("", '0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=1,fd=3))', "", 2200, {2200}),
        ("", "", "ActiveState=active\nListen=0.0.0.0:2222 (Stream)\nListen=[::]:2222 (Stream)\n", None, {2222}),
        ("", "", "ActiveState=inactive\nListen=[::]:22 (Stream)\n", None, set()),
    ],
)
def test_every_port_that_ssh_may_come_through_counts(
    host: FakeHost, ufw: FakeFirewall, sshd: str, listener: str, socket: str, came: int | None, expected: set[int]
) -> None:
    """PITFALLS 18: what sshd's files say, what listens, the present session."""
    host.teach("/usr/sbin/sshd", "-T", code=0 if sshd else 127, stdout=sshd)
    host.teach("ip", "-json", "route", "show", "default", stdout='[{"dst":"default","dev":"eth0"}]')
    host.teach("ss", "-Hltnp", stdout=f"LISTEN 0 128 {listener}\n" if listener else "")
    host.answers["systemctl", "show", "ssh.socket"] = Answer(0, socket)
    host.came = Entry(user="root", ssh_port=came)
    assert ssh_ports(host) == expected


def test_whoever_cannot_come_back_finds_everything_as_it_was(host: FakeHost, ufw: FakeFirewall) -> None:
    before = {path: node.content for path, node in host.nodes.items() if path.startswith("/etc/")}
    host.lets_in = False
    outcome = harden(host)["firewall:ufw"]
    assert (outcome.state, outcome.cause) == (State.FAILED, "the server takes none of the keys; the change is undone")
    assert not ufw.loaded
    assert {path: host.nodes[path].content for path in before} == before


def test_on_the_machine_itself_the_change_waits_for_a_confirmation(host: FakeHost, ufw: FakeFirewall) -> None:
    host.lets_in = None
    step = steps()[0]
    step.apply(host)
    assert confirmation.waiting(host) == ["firewall"]
    undo.confirm(host, "firewall")
    assert step.check(host) is None
    assert ufw.loaded


def test_an_undo_of_last_time_is_forgotten_once_all_is_right(host: FakeHost, ufw: FakeFirewall) -> None:
    """It strikes, then the admin mends everything but a port: nothing is left to confirm."""
    host.lets_in = None
    steps()[0].apply(host)
    host.systemd.undo("firewall")
    assert seen(host).endswith("; the last change was undone at 2026-11-28 20:00:00 UTC: nobody had confirmed it")
    marker = {undo.marker("firewall"): host.nodes[undo.marker("firewall")]}
    host.lets_in = True
    harden(host)
    host.nodes |= marker
    assert seen(host) == ""
    assert states(harden(host, **{"apps": {**FEW["apps"], "jitsi": True}})) == [State.CHANGE, State.CHANGE]
    assert undo.undone(host, "firewall") == ""


def test_a_port_of_ssh_is_closed_with_a_way_back(host: FakeHost, ufw: FakeFirewall) -> None:
    """A former one may be the one that lets people in."""
    host.teach("/usr/sbin/sshd", "-T", stdout="port 22\nport 2022\n")
    harden(host)
    host.teach("/usr/sbin/sshd", "-T", stdout="port 2022\n")
    host.teach("ss", "-Hltnp", stdout="")
    host.came = replace(host.came, ssh_port=2022)
    host.lets_in = False
    outcome = harden(host)["firewall:ufw"]
    assert outcome.cause == "the server takes none of the keys; the change is undone"
    assert "22/tcp" in ufw.openings()
    host.lets_in = True
    assert harden(host)["firewall:ufw"].cause == "to close: 22/tcp"
    assert "22/tcp" not in ufw.openings()


def test_an_sshd_that_cannot_read_its_files_closes_nothing(host: FakeHost, ufw: FakeFirewall) -> None:
    host.teach("/usr/sbin/sshd", "-T", code=255, stderr="/etc/ssh/sshd_config line 3: Bad configuration option\n")
    outcome = survey(steps(), host)[0]
    assert (outcome.state, outcome.hint) == (State.FAILED, "`/usr/sbin/sshd -t` shows it")
    assert outcome.cause.startswith("sshd does not accept its settings: /etc/ssh/sshd_config line 3")


def test_an_enabled_firewall_is_loaded_again_by_the_undo(host: FakeHost, ufw: FakeFirewall) -> None:
    """It was on before, but let in everything."""
    harden(host)
    host.write("/etc/default/ufw", host.text("/etc/default/ufw").replace('"DROP"', '"ACCEPT"', 1).encode())
    assert seen(host) == "to close for all that is not allowed"
    host.lets_in = False
    assert harden(host)["firewall:ufw"].state == State.FAILED
    assert ufw.loaded


def test_the_admin_s_own_rules_stay_and_are_told(host: FakeHost, ufw: FakeFirewall) -> None:
    ufw.add("allow", "udp", "51820")
    ufw.add("limit", "tcp", "22")
    outcome = harden(host)["firewall:ufw"]
    assert (outcome.state, outcome.warning) == (State.CHANGE, "rules of your own open more: 51820/udp")
    assert ufw.openings() == ["51820/udp", *SITE_PORTS]


def test_what_forwards_for_everybody_is_told_and_not_touched(host: FakeHost, ufw: FakeFirewall) -> None:
    text = host.text("/etc/default/ufw").replace('FORWARD_POLICY="DROP"', 'FORWARD_POLICY="ACCEPT"')
    host.write("/etc/default/ufw", text.encode())
    assert "forwards packets for everybody" in harden(host)["firewall:ufw"].warning


def test_rules_that_only_the_file_has_are_loaded(host: FakeHost, ufw: FakeFirewall) -> None:
    harden(host)
    ufw.user[6].clear()
    assert seen(host) == "not in force: the kernel has other rules"
    assert states(harden(host)) == [State.CHANGE, State.OK]


def test_it_starts_with_the_machine(host: FakeHost, ufw: FakeFirewall) -> None:
    harden(host)
    host.systemd.enabled.discard("ufw.service")
    assert seen(host) == "to start with the machine"
    assert states(harden(host)) == [State.CHANGE, State.OK]


def test_a_chain_that_somebody_emptied_is_filled(host: FakeHost, ufw: FakeFirewall) -> None:
    harden(host)
    ufw.chain.pop()
    assert states(harden(host)) == [State.OK, State.CHANGE]
    assert ufw.chain[-1] == "-A KMUCTL -o br-+ -j DROP"


def test_an_uplink_that_is_named_like_docker_s_bridges_is_refused(host: FakeHost, ufw: FakeFirewall) -> None:
    host.teach("ip", "-json", "route", "show", "default", stdout='[{"dst":"default","dev":"br-lan"}]')
    outcome = survey(steps(), host)[1]
    assert (outcome.state, outcome.hint) == (
        State.FAILED, "rename that bridge (`br0` will do), or set `firewall = false` under [harden]",
    )  # fmt: skip
    assert outcome.cause.startswith("the machine's own network is on `br-lan`")


def test_without_root_it_is_said_what_is_missing(host: FakeHost, ufw: FakeFirewall) -> None:
    harden(host)
    host.programs["iptables"] = lambda words: Answer(4, "", "iptables: Permission denied (you must be root).\n")
    outcome = survey(steps(), host)[0]
    assert outcome.state == State.FAILED
    assert outcome.cause == "`iptables -S` failed: iptables: Permission denied (you must be root)."
