"""The steps of fail2ban on the real server and the real iptables, in a network of their own. K24, K87; PITFALLS 20."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kmuctl.model.errors import StepFailed
from kmuctl.model.step import Step
from kmuctl.operations.harden.fail2ban import jails
from kmuctl.operations.harden.fail2ban.steps import jails_step, log_step
from tests.support import stack
from tests.tools.namespaces import SealedHost, sealed_host
from tests.tools.programs import program

pytestmark = pytest.mark.tool
FOLDER = "/var/lib/kmu"
CHANGES: dict[str, Any] = {"host": {"folder": FOLDER, "ipv4": "203.0.113.7"}, "harden": {"allow": ["198.51.100.64/28"]}}
SCAN = (
    '{{"level":"info","ts":"{now}","logger":"http.log.access.log1","msg":"handled request","request":{{'
    '"remote_ip":"{address}","remote_port":"46507","client_ip":"{address}","proto":"HTTP/2.0","method":"GET","host":"acme.example","uri":"/.env",'
    '"headers":{{}}}},"bytes_read":0,"user_id":"","duration":0.001,"size":223,"status":200,"resp_headers":{{}}}}\n'
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SealedHost]:
    program("fail2ban-server")
    with sealed_host(tmp_path) as host:
        host.place.do(
            "ip address add 192.0.2.44/32 dev lo",
            "ip link add br-0123456789ab type bridge", "ip address add 172.18.0.1/16 dev br-0123456789ab",
            "ip link set br-0123456789ab up",
        )  # fmt: skip
        yield host
        host.run(("fail2ban-client", "stop"))


def steps(**changes: Any) -> list[Step]:
    wanted = stack(**CHANGES | changes)
    return [*([log_step(wanted)] if jails.web_jails(wanted) else []), jails_step(wanted)]


def bring(host: SealedHost, **changes: Any) -> None:
    for step in steps(**changes):
        if step.check(host):
            step.apply(host)
        assert eventually(lambda step=step: step.check(host) is None), step.check(host)  # type: ignore[misc]


def eventually(true: Callable[[], bool]) -> bool:
    for _ in range(40):
        if true():
            return True
        time.sleep(0.25)
    return False


def jails_of(host: SealedHost) -> str:
    return host.run(("fail2ban-client", "status")).stdout.strip().rpartition("\t")[2]


def banned(host: SealedHost, tool: str = "iptables") -> list[str]:
    """Who is dropped on the way to containers."""
    lines = host.run((tool, "-S")).stdout.splitlines()
    return [
        line.split()[3] for line in lines if line.startswith("-A f2b-kmuctl-probes -s") and line.endswith("-j DROP")
    ]


def scanned(host: SealedHost, *addresses: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = jails.log(stack(**CHANGES))
    lines = "".join(SCAN.format(now=now, address=address) * 3 for address in addresses)
    host.write(path, (host.read(path) or b"") + lines.encode(), mode=0o640)


def test_it_starts_before_there_is_a_log_with_exactly_our_jails(host: SealedHost) -> None:
    bring(host)
    assert jails_of(host) == "kmuctl-denied, kmuctl-probes, kmuctl-signin, sshd"
    assert all(step.check(host) is None for step in steps())


def test_who_scans_is_dropped_before_containers_and_the_spared_are_not(host: SealedHost) -> None:
    bring(host)
    spared = ("127.0.0.1", "10.231.112.5", "172.18.0.1", "172.18.0.9", "203.0.113.7", "198.51.100.70", "192.0.2.44")
    scanned(host, *spared, "198.51.100.7", "2001:db8::7")
    assert eventually(lambda: bool(banned(host) and banned(host, "ip6tables")))
    assert (banned(host), banned(host, "ip6tables")) == (["198.51.100.7/32"], ["2001:db8::7/128"])
    assert "-A DOCKER-USER -j f2b-kmuctl-probes" in host.run(("iptables", "-S", "DOCKER-USER")).stdout


def test_who_is_signed_in_is_not_shut_out(host: SealedHost) -> None:
    """PITFALLS 18: at its first start fail2ban reads ten minutes back, with the admin's own mistakes in them."""
    bring(host)
    signed_in = {**os.environ, "SSH_CLIENT": "198.51.100.9 50022 22"}
    with subprocess.Popen(["sleep", "60"], env=signed_in) as session:
        scanned(host, "198.51.100.9", "198.51.100.7")
        assert eventually(lambda: bool(banned(host)))
        assert banned(host) == ["198.51.100.7/32"]
        session.kill()


def test_a_change_is_read_without_a_restart_and_without_an_amnesty(host: SealedHost) -> None:
    bring(host)
    scanned(host, "198.51.100.7")
    assert eventually(lambda: bool(banned(host)))
    more = {"harden": {"allow": ["198.51.100.64/28", "192.0.2.0/24"]}}
    drift = steps(**more)[-1].check(host)
    assert drift is not None and drift.cause == "to write: jail.d/kmuctl.local"
    bring(host, **more)
    assert banned(host) == ["198.51.100.7/32"]


def test_files_that_were_written_and_not_read_are_found(host: SealedHost) -> None:
    """kmuctl was killed in between."""
    bring(host)
    more = {"harden": {"allow": ["192.0.2.0/24"]}}
    for path, content in jails.files(stack(**CHANGES | more)).items():
        host.write(path, content)
    drift = steps(**more)[-1].check(host)
    assert drift is not None and drift.cause.startswith("not in force yet: sshd, kmuctl-denied")
    bring(host, **more)


def test_behind_a_proxy_only_ssh_is_watched(host: SealedHost) -> None:
    bring(host)
    bring(host, network={"trusted_proxies": ["192.0.2.10"]})
    assert jails_of(host) == "sshd"


def test_what_the_admin_broke_is_told_and_the_server_goes_on(host: SealedHost) -> None:
    bring(host)
    host.write("/etc/fail2ban/jail.d/own.local", b"[own]\nenabled = true\nfilter = sshd\nlogpath = /nowhere\n")
    with pytest.raises(StepFailed, match="fail2ban refuses its configuration"):
        steps()[-1].apply(host)
    assert host.run(("fail2ban-client", "ping")).code == 0
