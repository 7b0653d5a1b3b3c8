"""What `harden` made of a fresh server: seen from another host, by other programs, and by kmuctl itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.stack import eventually
from tests.lab.vps import Neighbour, Vps
from tests.scenarios.admin import Admin
from tests.scenarios.conftest import OWN_SETTINGS
from tests.scenarios.lynis import Verdict, audit
from tests.scenarios.test_lock_out import methods

pytestmark = [pytest.mark.lab, pytest.mark.scenario]

UNDECLARED = 8089
LISTEN = f"""
import socket, threading
for family, where in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((where, {UNDECLARED}))
    server.listen()
threading.Event().wait()
"""
LOCK = "/opt/kmu/state/lock"


def test_a_second_run_changes_nothing(hardened: Admin) -> None:
    """K18: `harden` twice changes once; the plan is empty."""
    report = hardened.report("harden")
    assert report["ok"] and report["counts"]["change"] == 0, report
    assert hardened.plan() == {}


def test_the_machine_is_sound(hardened: Admin) -> None:
    """K24: nothing failed to start, fail2ban least of all."""
    assert hardened.server.say("systemctl", "is-system-running") == "running"
    jails = hardened.server.say("fail2ban-client", "status")
    assert "sshd" in jails and "kmuctl-probes" in jails


def test_sshd_takes_keys_only(hardened: Admin) -> None:
    """K26: for root and for others."""
    assert methods(hardened.server) == {"publickey"}
    assert hardened.server.ssh("true").returncode == 0


def test_ssh_audit_finds_no_fault(hardened: Admin) -> None:
    """The judge of algorithms: warnings there may be, failures not."""
    command = [sys.executable, "-m", "ssh_audit.ssh_audit", "--skip-rate-test", "--json", hardened.server.address]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout)
    failing = [
        entry["algorithm"]
        for kind in ("kex", "key", "enc", "mac")
        for entry in found[kind]
        if entry["notes"].get("fail")
    ]
    assert failing == []


def test_lynis_is_content(hardened: Admin, fresh: Verdict) -> None:
    """At least 20 points more than a fresh server of the same kind has, and no warning left."""
    verdict = audit(hardened.server)
    print(f"lynis: {fresh.index} before `harden`, {verdict.index} after")
    assert verdict.warnings == []
    assert verdict.index >= fresh.index + 20


@contextmanager
def listening(server: Vps) -> Iterator[None]:
    """A program of the machine itself, on a port that nobody declared."""
    server.say("systemd-run", "--quiet", "--unit=listening", "python3", "-c", LISTEN)
    try:
        yield
    finally:
        server.say("systemctl", "stop", "listening")


def test_an_undeclared_port_of_the_machine_is_closed(hardened: Admin, visitor: Neighbour) -> None:
    """K26: for IPv4 and IPv6."""
    server = hardened.server
    with listening(server):
        eventually(lambda: str(UNDECLARED) in server.say("ss", "-ltn6"), what="it listens")
        for address in (server.address, server.address_6):
            assert visitor.reaches(address, 22)
            assert not visitor.reaches(address, UNDECLARED)


def test_an_engine_that_was_there_is_kept(hardened: Admin, own_engine: dict[str, Any]) -> None:
    """K25: the admin's settings beside ours; the container never stopped."""
    if not own_engine:
        pytest.skip("this server had no engine")
    settings = json.loads(hardened.server.say("cat", "/etc/docker/daemon.json"))
    assert settings.items() >= OWN_SETTINGS.items()
    assert settings["live-restore"] is True
    now = hardened.server.container("own")
    assert (now["Id"], now["State"]["StartedAt"]) == (own_engine["Id"], own_engine["State"]["StartedAt"])


def test_it_holds_after_a_reboot(hardened: Admin, visitor: Neighbour) -> None:
    """K26: firewall, jails and settings come back by themselves, and nothing is undone."""
    hardened.server.reboot()
    assert "Status: active" in hardened.server.say("ufw", "status")
    assert hardened.plan() == {}
    assert visitor.reaches(hardened.server.address, 22)


def test_two_at_once_take_turns(hardened: Admin) -> None:
    """K18: the second says who is first: exit 4."""
    server = hardened.server
    with hardened.at_work("harden") as first:
        eventually(lambda: server.inside("flock", "-n", LOCK, "true").returncode, every=0.05, what="it holds the lock")
        first.send_signal(signal.SIGSTOP)
        second = hardened.kmuctl("harden")
        first.send_signal(signal.SIGCONT)
        said, _ = first.communicate(timeout=300)
    assert second.returncode == 4, second.stderr
    assert f"process {first.pid}" in second.stderr
    assert first.returncode == 0, said


def test_a_user_with_sudo_sees_the_same(hardened: Admin) -> None:
    """K20: also one whose sudo asks for nothing, without a terminal."""
    hardened.server.open_for("automation")
    assert hardened.plan("--host", hardened.server.url("automation"), "harden") == {}
