"""kmuctl dies between a change that can lock the admin out and its confirmation: the server takes the change back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.stack import eventually
from tests.lab.vps import Vps
from tests.scenarios.admin import Admin

pytestmark = [pytest.mark.lab, pytest.mark.scenario]

PARTS = ("system", "docker", "firewall", "ssh", "fail2ban")
UNDONE_WITHIN = 150.0
WATCH = """
until test -e /var/lib/kmuctl/undo/$1/undo; do sleep 0.02; done
kill -STOP "$(systemctl show --property=MainPID --value ssh)"
"""
STATE = "sha256sum /etc/ssh/sshd_config.d/* /etc/ssh/sshd_config /etc/default/ufw /etc/ufw/*.rules /etc/ufw/ufw.conf"


def methods(server: Vps) -> set[str]:
    """The ways to sign in that sshd offers. Asked seldom: fail2ban takes the question for an attempt."""
    said = server.ssh(options=("-o", "PreferredAuthentications=none")).stderr
    return set(said[said.rindex("(") + 1 : said.rindex(")")].split(","))


def told_to_reload(server: Vps) -> bool:
    """The stopped sshd has a SIGHUP waiting."""
    pid = server.say("systemctl", "show", "--property=MainPID", "--value", "ssh")
    status = server.say("cat", f"/proc/{pid}/status")
    waiting = next(line for line in status.splitlines() if line.startswith("ShdPnd"))
    return bool(int(waiting.split()[1], 16) & 1)


def filtering(server: Vps) -> bool:
    return "Status: active" in server.inside("ufw", "status").stdout


@contextmanager
def no_new_connections(server: Vps, change: str) -> Iterator[None]:
    """From the moment when the change is prepared: what is connected lives on, nobody gets in anew."""
    server.say("sh", "-c", f"({WATCH}) >/dev/null 2>&1 &", "sh", change)
    try:
        yield
    finally:
        server.say("sh", "-c", 'kill -CONT "$(systemctl show --property=MainPID --value ssh)"')


def killed_before_the_confirmation(admin: Admin, part: str, changed: Callable[[], bool]) -> None:
    def only(document: Any) -> None:
        document["harden"] = {**dict.fromkeys(PARTS, False), part: True, "undo_minutes": 1}

    with admin.edited(only), no_new_connections(admin.server, part), admin.at_work("harden") as process:
        eventually(changed, within=120, every=0.1, what=f"{part} is changed")
        assert process.poll() is None
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def before(admin: Admin) -> str:
    admin.server.trust()
    admin.server.install("ufw")
    return admin.server.say("sh", "-c", STATE)


@pytest.fixture(scope="module")
def left_alone(admin: Admin, suite: str, before: str) -> Vps:
    """Both changes are made, neither is confirmed; the Debian 12 server loses its power on top."""
    server = admin.server
    killed_before_the_confirmation(admin, "ssh", lambda: told_to_reload(server))
    killed_before_the_confirmation(admin, "firewall", lambda: filtering(server))
    if suite == "bookworm":
        server.pull_the_plug()
    assert methods(server) == {"publickey"}
    assert filtering(server)
    return server


def test_what_nobody_confirmed_is_undone(left_alone: Vps, before: str) -> None:
    """K26, PITFALLS 18: killed with SIGKILL, on Debian 12 also without power: sshd and ufw are as before."""
    undo = ("ls", "/var/lib/kmuctl/undo")
    eventually(lambda: not left_alone.inside(*undo).stdout, within=UNDONE_WITHIN, every=1, what="all is undone")
    assert "password" in methods(left_alone)
    assert not filtering(left_alone)
    assert left_alone.say("sh", "-c", STATE) == before


def test_the_next_plan_says_what_happened(left_alone: Vps, admin: Admin) -> None:
    """K26: and wants to do it again."""
    done = admin.kmuctl("harden", "--dry-run")
    assert "was undone at" in done.stderr, done.stderr
    assert {"firewall:ufw"} <= admin.plan().keys()
