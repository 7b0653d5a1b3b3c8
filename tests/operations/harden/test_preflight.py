"""Whether a machine may be hardened: every reason against it in plain words, before anything is changed."""

from __future__ import annotations

import json

import pytest

from kmuctl.model.errors import HostError
from kmuctl.model.host import Answer
from kmuctl.operations.harden.preflight import CODENAMES, examine, preflight
from tests.fakes.server import Server
from tests.support import stack


def look(host: Server, *, force: bool = False, **wanted: bool) -> list[str]:
    return preflight(stack(harden=wanted), host, examine(host), force=force)


def refusal(host: Server, **wanted: bool) -> HostError:
    with pytest.raises(HostError) as caught:
        look(host, **wanted)
    return caught.value


def answering(code: int, text: str = "") -> Answer:
    return Answer(code, text)


@pytest.mark.parametrize(("known", "codename"), CODENAMES.items())
def test_the_machines_that_we_know(known: tuple[str, str], codename: str) -> None:
    """K20."""
    distribution, version = known
    host = Server(distribution=distribution, version=version, codename=codename)
    host.clock = 10**11  # ahead of ours by ages, which is only a warning
    (warning,) = look(host)
    assert warning.endswith("ahead of ours")
    assert str(examine(host)) == f"{distribution.capitalize()} {version} (amd64)"


def test_another_distribution_is_refused_unless_forced() -> None:
    host = Server(distribution="fedora", version="42", codename="")
    error = refusal(host)
    assert "it runs Fedora 42 (amd64); kmuctl knows Debian 12 and 13, Ubuntu 22.04, 24.04 and 26.04" in error.message
    assert "--force" in error.hint
    assert look(host, force=True)


def test_a_machine_that_is_not_what_it_says() -> None:
    assert "with the codename `sid`, not `trixie`" in refusal(Server(codename="sid")).message


def test_a_machine_without_dpkg() -> None:
    host = Server()
    host.programs["dpkg"] = lambda words: answering(127)
    with pytest.raises(HostError, match="no dpkg on this machine"):
        examine(host)


def test_root_is_needed() -> None:
    """K28."""
    host = Server()
    host.programs["id"] = lambda words: answering(0, "1000\n")
    assert refusal(host).hint == "use sudo"


def test_all_problems_come_at_once() -> None:
    host = Server()
    host.remove("/run/systemd/system")
    host.make_folder("/snap/docker", mode=0o755, uid=0)
    host.programs["test"] = lambda words: answering(int(words == ("-w", "/etc")))
    host.programs["df"] = lambda words: answering(0, "Filesystem\n/dev/a 9 9 1024000 99% /var\n")
    host.programs["iptables"] = lambda words: answering(4)
    lines = refusal(host).message.splitlines()
    assert lines[0] == "this machine is not ready:"
    assert [line.split()[0] for line in lines[1:]] == ["systemd", "`/etc`", "1000", "Docker", "the"]


def test_an_architecture_without_images() -> None:
    host = Server()
    host.programs["dpkg"] = lambda words: answering(0, "armhf\n")
    assert "its architecture is armhf" in refusal(host).message


@pytest.mark.parametrize(("service", "state"), [("firewalld.service", "active"), ("nftables.service", "enabled")])
def test_another_firewall_is_not_mixed_with(service: str, state: str) -> None:
    host = Server()
    (host.systemd.active if state == "active" else host.systemd.enabled).add(service)
    host.systemd.enabled.add(service.removesuffix(".service"))
    error = refusal(host)
    assert f"another firewall is at work here: {service} is {state}" in error.message
    assert "`firewall = false` under [harden]" in error.hint
    look(host, firewall=False)


def ruleset(family: str, table: str) -> str:
    return json.dumps({"nftables": [{"metainfo": {}}, {"rule": {"family": family, "table": table, "chain": "input"}}]})


@pytest.mark.parametrize(
    ("family", "table", "foreign"),
    [
        ("inet", "filter", True),
        ("ip", "filter", False),
        ("ip6", "nat", False),
        ("inet", "f2b-table", False),
        ("ip", "wg-quick-wg0", False),
        ("ip6", "libvirt_network", False),
        ("ip", "wg-quick", True),
    ],
)
def test_rules_of_a_provider_in_nftables(family: str, table: str, foreign: bool) -> None:
    host = Server()
    host.programs["nft"] = lambda words: answering(0, ruleset(family, table))
    if foreign:
        assert f"nftables has rules in `{family} {table}`" in refusal(host).message
    else:
        look(host)


@pytest.mark.parametrize(
    ("rule", "foreign"),
    [
        ("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", True),
        ("-A OUTPUT -d 169.254.0.0/16 -j InstanceServices", True),
        ("-A INPUT -j ufw-before-input", False),
        ("-A FORWARD -j DOCKER-USER", False),
        ("-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", False),
        ("-A FORWARD -i br-0123456789ab -o br-0123456789ab -j ACCEPT", False),
        ("-A f2b-sshd -s 192.0.2.9/32 -j REJECT", False),
        ("-A KMUCTL -j RETURN", False),
        ("-A FORWARD -i wg0 -j ACCEPT", False),
        ("-A FORWARD -i wg0 -o eth0 -m comment --comment vpn -j ACCEPT", False),
        ("-A FORWARD -d 10.8.0.0/24 -o wg0 -j ACCEPT", False),
        ("-A FORWARD -i wg0 -j DROP", True),
        ("-A FORWARD ! -i eth0 -j ACCEPT", True),
        ("-A FORWARD -s 10.8.0.0/24 -j ACCEPT", True),
        ("-A INPUT -i wg0 -j ACCEPT", True),
        ("-A INPUT -j LIBVIRT_INP", False),
        ("-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable", False),
        (":INPUT DROP [0:0]", False),
    ],
)
def test_rules_of_others_in_iptables(rule: str, foreign: bool) -> None:
    host = Server()
    host.programs["iptables-save"] = lambda words: answering(0, f"*filter\n:INPUT ACCEPT [0:0]\n{rule}\nCOMMIT\n")
    if foreign:
        assert f"`iptables-save` shows a rule `{rule}`" in refusal(host).message
    else:
        look(host)


def test_a_container_of_a_provider_is_told() -> None:
    host = Server()
    host.programs["systemd-detect-virt"] = lambda words: answering(0, "lxc\n")
    assert look(host)[0].startswith("this is a container (lxc)")


def test_a_last_change_that_was_undone_is_told() -> None:
    host = Server()
    host.write("/var/lib/kmuctl/undone-ssh", b"2026-11-28 20:00:00 UTC\n")
    assert look(host)[-1] == "the last change of ssh was undone at 2026-11-28 20:00:00 UTC: nobody had confirmed it"
    assert not [warning for warning in look(host, ssh=False) if "undone" in warning]
