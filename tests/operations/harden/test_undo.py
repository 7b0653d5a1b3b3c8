"""A change that could lock the admin out takes itself back, wherever kmuctl was killed."""

from __future__ import annotations

import pytest

from kmuctl.model.errors import HostError, StepFailed
from kmuctl.operations.harden import undo
from kmuctl.operations.timers import UNITS
from tests.fakes.server import Server

OLD, NEW = b"old\n", b"new\n"
THERE, ABSENT = "/etc/there.conf", "/etc/it's new.conf"
CHANGE = undo.Guarded(
    name="firewall", files=(THERE, ABSENT), restore=(("systemctl", "reload", "ssh.service"),), minutes=7
)


@pytest.fixture
def host() -> Server:
    host = Server()
    host.write(THERE, OLD, mode=0o640)
    return host


def write_new(host: Server) -> None:
    host.write(THERE, NEW)
    host.write(ABSENT, NEW)


def test_confirmed_the_change_stays(host: Server) -> None:
    undo.carry_out(host, CHANGE, lambda: write_new(host))
    assert (host.read(THERE), host.read(ABSENT)) == (NEW, NEW)
    assert not undo.armed(host, "firewall")
    assert [path for path in host.nodes if "undo-" in path] == []


def test_the_timer_is_enabled_before_anything_changes(host: Server) -> None:
    """A reboot starts it anew."""
    seen: list[bool] = []

    def act() -> None:
        unit = undo.timer("firewall")
        seen.append(unit in host.systemd.enabled and unit in host.systemd.active and host.read(THERE) == OLD)

    undo.carry_out(host, CHANGE, act)
    assert seen == [True]


def test_the_timer_says_how_long() -> None:
    text = undo.unit_files(CHANGE)[f"{UNITS}/kmuctl-undo-firewall.timer"].decode()
    assert {"OnActiveSec=7min", "WantedBy=timers.target"} <= {*text.splitlines()}


def test_killed_after_the_change_the_machine_takes_it_back(host: Server) -> None:
    """Nothing of kmuctl is needed for it."""
    undo.arm(host, CHANGE)
    write_new(host)
    host.systemd.undo("firewall")
    assert (host.read(THERE), host.read(ABSENT)) == (OLD, None)
    assert host.facts([THERE])[THERE].mode == 0o640
    assert undo.undone(host, "firewall")
    assert undo.timer("firewall") not in host.systemd.enabled


def test_armed_again_the_first_copies_stay(host: Server) -> None:
    """Killed between change and confirmation, and run again: the way back leads to before both."""
    undo.arm(host, CHANGE)
    write_new(host)
    undo.arm(host, CHANGE)
    host.systemd.undo("firewall")
    assert (host.read(THERE), host.read(ABSENT)) == (OLD, None)


def test_a_copy_that_was_cut_off_counts_for_nothing(host: Server) -> None:
    host.write("/var/lib/kmuctl/undo/firewall/0", b"half")
    undo.arm(host, CHANGE)
    host.systemd.undo("firewall")
    assert host.read(THERE) == OLD


def test_a_failed_change_is_undone_at_once(host: Server) -> None:
    def act() -> None:
        host.write(THERE, NEW)
        raise HostError("the disk is full", hint="free some space")

    with pytest.raises(StepFailed, match="the disk is full; the change is undone") as caught:
        undo.carry_out(host, CHANGE, act)
    assert caught.value.hint == "free some space"
    assert host.read(THERE) == OLD
    assert undo.undone(host, "firewall") == ""


def test_where_the_link_broke_the_machine_does_it_alone(host: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(name: str) -> None:
        raise HostError("connection lost")

    host.lets_in = False
    monkeypatch.setattr(host.systemd, "undo", cut_off)
    with pytest.raises(StepFailed, match="the machine undoes the change by itself within 7 minutes"):
        undo.carry_out(host, CHANGE, lambda: write_new(host))
    assert undo.armed(host, "firewall")


def test_a_confirmation_that_comes_too_late_is_none(host: Server) -> None:
    undo.arm(host, CHANGE)
    write_new(host)
    host.systemd.undo("firewall")
    with pytest.raises(StepFailed, match="the confirmation came too late"):
        undo.confirm(host, "firewall")


def test_who_made_the_change_is_kept(host: Server) -> None:
    undo.arm(host, CHANGE)
    assert undo.maker(host, "firewall") == host.entry()
