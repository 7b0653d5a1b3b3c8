"""The first look at a fresh server, and what is refused before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.stack import Run
from tests.lab.vps import Vps
from tests.scenarios.admin import Admin

pytestmark = [pytest.mark.lab, pytest.mark.scenario]

TRACES = r"""
find /etc /home /opt /root /usr/local /var/lib -xdev -newer /proc/1 -type f -not -path '/var/lib/systemd/*' \
    -printf '%p %T@ %s\n' | sort
"""
CLOSE_PORT = ("INPUT", "-p", "tcp", "--dport", "9999", "-j", "DROP")


def traces(server: Vps) -> str:
    """All files that were written since it booted."""
    return server.say("sh", "-c", TRACES)


def refused(done: Run) -> str:
    """One message with a hint, and no more."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr
    return done.stderr


def test_a_server_that_nobody_has_met_is_not_believed(admin: Admin) -> None:
    """K1: its fingerprint is shown, and how to go on."""
    server = admin.server
    said = refused(admin.kmuctl("harden", "--dry-run"))
    keys = server.say("sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -").splitlines()
    assert any(line.split()[1] in said for line in keys)
    assert "--accept-new-host-key" in said
    assert not server.known_hosts.exists()


@pytest.fixture(scope="module")
def met(admin: Admin) -> Admin:
    """The key was compared, and is known from now on."""
    done = admin.kmuctl("--accept-new-host-key", "harden", "--dry-run", "--exit-code")
    assert done.returncode == 3, done.stdout + done.stderr
    assert admin.server.address in admin.server.known_hosts.read_text()
    return admin


def test_another_key_than_before_stops(met: Admin) -> None:
    """K1: somebody may be listening in; both fingerprints."""
    known = met.server.known_hosts.read_text()
    other = met.server.key.with_suffix(".pub").read_text().split()[1]
    met.server.known_hosts.write_text(f"{met.server.address} ssh-ed25519 {other}\n")
    try:
        said = refused(met.kmuctl("harden", "--dry-run"))
    finally:
        met.server.known_hosts.write_text(known)
    assert said.count("SHA256:") == 2


def test_a_plan_has_causes_and_changes_nothing(met: Admin) -> None:
    """K18, K23-K26: every part is in it."""
    before = traces(met.server)
    plan = met.plan()
    assert traces(met.server) == before
    assert all(plan.values()), plan
    parts = {step.partition(":")[0] for step in plan}
    assert {"system", "docker", "firewall", "ssh", "fail2ban"} <= parts, plan


def test_another_firewall_is_not_mixed_with(met: Admin) -> None:
    """K26: the rule of somebody else is shown."""
    met.server.say("iptables", "--append", *CLOSE_PORT)
    try:
        before = traces(met.server)
        said = refused(met.kmuctl("harden"))
        assert traces(met.server) == before
    finally:
        met.server.say("iptables", "--delete", *CLOSE_PORT)
    assert "9999" in said and "another firewall" in said


@contextmanager
def no_names(server: Vps) -> Iterator[None]:
    known = server.say("cat", "/etc/resolv.conf")
    server.say("sh", "-c", "echo nameserver 127.0.0.1 >/etc/resolv.conf")
    try:
        yield
    finally:
        server.inside("sh", "-c", "cat >/etc/resolv.conf", stdin=known + "\n")


def packages_only(document: Any) -> None:
    document["harden"] = dict.fromkeys(("docker", "firewall", "ssh", "fail2ban"), False)


def test_without_package_mirrors_nothing_is_half_installed(met: Admin) -> None:
    """K23: apt's own words, and every package is as before."""
    packages = met.server.say("sha256sum", "/var/lib/dpkg/status")
    with met.edited(packages_only), no_names(met.server):
        said = refused(met.kmuctl("harden"))
    assert "package lists" in said
    assert met.server.say("sha256sum", "/var/lib/dpkg/status") == packages


@contextmanager
def small_disk(server: Vps, folder: str) -> Iterator[None]:
    """The same files on a disk that has hardly any room."""
    script = 'mkdir -p /run/small && mount -t tmpfs -o size=32m,mode=755 none /run/small && cp -a "$1/." /run/small'
    server.say("sh", "-ec", f'{script} && mount --move /run/small "$1"', "sh", folder)
    try:
        yield
    finally:
        server.say("umount", folder)


def test_a_full_disk_is_named_before_anything_is_done(met: Admin) -> None:
    """D47."""
    with small_disk(met.server, "/etc"):
        before = traces(met.server)
        said = refused(met.kmuctl("harden"))
        assert traces(met.server) == before
    assert "MiB free on the disk of `/etc`" in said
