"""Which packets reach containers, with the real iptables between three machines. K26, K80; PITFALLS 19.

The middle one forwards as Docker has it: a bridge named by Docker's rule, published ports by DNAT, its own accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmuctl.model.step import Step
from kmuctl.operations.harden.firewall.containers import SCRIPT, UNIT, containers_step
from tests.support import stack
from tests.tools.namespaces import Place, SealedHost, place, sealed_host
from tests.tools.programs import program, run

pytestmark = pytest.mark.tool
BRIDGE = "br-0123456789ab"
OUTSIDE, CONTAINER = "10.77.0.2", "10.231.112.9"
DOCKER = (
    # port 443 is declared, 8443 is not; 25 is declared, but nobody published it
    "-t nat -A PREROUTING -p tcp --dport 443 -j DNAT --to-destination 10.231.112.9:8000",
    "-t nat -A PREROUTING -p tcp --dport 8443 -j DNAT --to-destination 10.231.112.9:8000",
    "-t nat -A PREROUTING -p tcp --dport 9443 -j DNAT --to-destination 10.231.112.9:25",
    f"-A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    f"-A FORWARD -o {BRIDGE} -j ACCEPT",
    f"-A FORWARD -i {BRIDGE} -j ACCEPT",
    "-A FORWARD -i vpn+ -j ACCEPT",
    "-A FORWARD -o vpn+ -j ACCEPT",
    "-P FORWARD DROP",
)


@dataclass(frozen=True)
class Net:
    host: SealedHost
    outside: Place
    container: Place

    def iptables(self, *rules: str) -> None:
        self.host.place.do(*(f"iptables {rule}" for rule in rules))

    def docker_user(self) -> list[str]:
        return self.host.query(("iptables", "-S", "DOCKER-USER")).stdout.splitlines()[1:]


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    program("iptables")
    with sealed_host(tmp_path) as host, place() as outside, place() as container:
        here = host.place
        here.do(
            f"ip link add {BRIDGE} type bridge",
            f"ip address add 10.231.112.1/24 dev {BRIDGE}", f"ip link set {BRIDGE} up",
            f"ip link add cable type veth peer name cable netns {outside.pid}",
            "ip address add 10.77.0.1/24 dev cable", "ip link set cable up",
            f"ip link add inner type veth peer name cable netns {container.pid}",
            f"ip link set inner master {BRIDGE}", "ip link set inner up", "sysctl -q -w net.ipv4.ip_forward=1",
        )  # fmt: skip
        for machine, address, gateway in ((outside, OUTSIDE, "10.77.0.1"), (container, CONTAINER, "10.231.112.1")):
            machine.do(
                f"ip address add {address}/24 dev cable", "ip link set cable up", f"ip route add default via {gateway}"
            )
        found = Net(host, outside, container)
        found.iptables(*DOCKER)
        yield found


def step(*ports: str) -> Step:
    return containers_step(stack(harden={"ports": ports}), after=())


def bring(net: Net, *ports: str) -> None:
    step(*ports).apply(net.host)
    assert step(*ports).check(net.host) is None


def test_declared_ports_are_open_and_others_are_not_although_a_container_publishes_them(net: Net) -> None:
    with net.container.listening(8000, 25):
        assert [net.outside.reaches("10.77.0.1", port) for port in (443, 8443, 9443)] == [True, True, True]
        bring(net)
        # 9443 leads to a container's port 25, which is declared: the published number decides
        assert [net.outside.reaches("10.77.0.1", port) for port in (443, 8443, 9443)] == [True, False, False]
        # straight to the container's address, as a neighbour in the same data centre could
        assert not net.outside.reaches(CONTAINER, 8000)


def test_a_port_of_the_admin_s_own_is_open_until_it_is_taken_off(net: Net) -> None:
    with net.container.listening(8000):
        bring(net, "8443/tcp", "9000-9010/udp")
        assert net.outside.reaches("10.77.0.1", 8443)
        bring(net)
        assert not net.outside.reaches("10.77.0.1", 8443)


def test_a_network_of_docker_s_with_a_bridge_of_its_own_name_is_told(net: Net) -> None:
    bring(net)
    net.iptables("-N DOCKER", f"-A FORWARD -o {BRIDGE} -j DOCKER", "-A FORWARD -o shop -j DOCKER")
    drift = step().check(net.host)
    assert drift is not None and drift.tolerable
    assert drift.cause.startswith("containers are on a bridge with a name of its own, shop: ")


def test_containers_reach_the_outside_and_answers_come_back(net: Net) -> None:
    bring(net)
    with net.outside.listening(8000):
        assert net.container.reaches(OUTSIDE, 8000)


def test_other_forwarding_is_left_alone(net: Net) -> None:
    """A VPN behind the machine, which Docker knows nothing about."""
    with place() as behind:
        net.host.place.do(
            f"ip link add vpn0 type veth peer name cable netns {behind.pid}",
            "ip address add 10.88.0.1/24 dev vpn0", "ip link set vpn0 up",
        )  # fmt: skip
        behind.do("ip address add 10.88.0.2/24 dev cable", "ip link set cable up", "ip route add default via 10.88.0.1")
        bring(net)
        with behind.listening(8000):
            assert net.outside.reaches("10.88.0.2", 8000)


def test_applied_again_nothing_doubles_and_rules_of_others_stay(net: Net) -> None:
    bring(net)
    # Docker before 28 ends its chain; fail2ban comes on top; somebody's own rule
    net.iptables("-A DOCKER-USER -j RETURN", "-I DOCKER-USER -s 198.51.100.9 -j DROP")
    assert step().check(net.host) is None
    bring(net)
    assert net.docker_user() == [
        "-A DOCKER-USER -j KMUCTL", "-A DOCKER-USER -s 198.51.100.9/32 -j DROP", "-A DOCKER-USER -j RETURN",
    ]  # fmt: skip


@pytest.mark.parametrize("first", ["docker", "kmuctl"])
def test_a_ban_counts_on_either_side_of_our_chain(net: Net, first: str) -> None:
    with net.container.listening(8000):
        bring(net)
        where = "-I DOCKER-USER" if first == "docker" else "-A DOCKER-USER"
        net.iptables(f"{where} -s {OUTSIDE} -j DROP")
        assert not net.outside.reaches("10.77.0.1", 443)


@pytest.mark.parametrize(
    "damage",
    [
        ["-D DOCKER-USER -j KMUCTL"],
        ["-F KMUCTL"],
        ["-D KMUCTL -o br-+ -j DROP"],
        ["-I KMUCTL -j RETURN"],
        ["-D FORWARD -j DOCKER-USER"],
        ["-D DOCKER-USER -j KMUCTL", "-A DOCKER-USER -j RETURN", "-A DOCKER-USER -j KMUCTL"],
    ],
)
def test_damage_is_seen_and_mended(net: Net, damage: list[str]) -> None:
    bring(net)
    net.iptables(*damage)
    drift = step().check(net.host)
    assert drift is not None and drift.cause.startswith("not in force: iptables ")
    bring(net)


def test_ipv6_is_governed_too(net: Net) -> None:
    bring(net)
    net.host.place.do("ip6tables -F KMUCTL")
    drift = step().check(net.host)
    assert drift is not None and drift.cause == "not in force: ip6tables has another KMUCTL"


def test_stopped_it_leaves_only_what_is_others(net: Net) -> None:
    bring(net)
    for _ in range(2):
        assert net.host.run(("sh", SCRIPT, "stop")).code == 0
    assert net.docker_user() == []
    assert net.host.query(("iptables", "-S", "KMUCTL")).code


def test_script_and_unit_are_sound(net: Net, tmp_path: Path) -> None:
    bring(net)
    for path in (SCRIPT, f"/etc/systemd/system/{UNIT}"):
        (tmp_path / path.rpartition("/")[2]).write_bytes(net.host.read(path) or b"")
    run("shellcheck", tmp_path / "containers.sh")
    run("systemd-analyze", "verify", "--man=no", tmp_path / UNIT)
