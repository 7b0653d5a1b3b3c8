"""A change that could lock the admin out takes itself back, wherever kmuctl was killed. K26, PITFALLS 18."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kmuctl.model.errors import HostError, StepFailed, Unreachable
from kmuctl.model.host import Answer, Entry
from kmuctl.operations.harden import confirmation, undo
from kmuctl.operations.timers import UNITS
from tests.fakes.server import Server

OLD, NEW = b"old\n", b"new\n"
THERE, ABSENT = "/etc/there.conf", "/etc/it's new.conf"
CHANGE = undo.Guarded(
    name="firewall", files=(THERE, ABSENT), restore=(("systemctl", "reload", "ssh.service"),), minutes=7
)
TIMER = undo.timer("firewall")


@pytest.fixture
def host() -> Server:
    host = Server()
    host.write(THERE, OLD, mode=0o640)
    return host


def write_new(host: Server) -> None:
    host.write(THERE, NEW)
    host.write(ABSENT, NEW)


def nothing() -> None:
    pass


def carry_out(host: Server, prepare: Callable[[], None] = nothing, cut: Callable[[], None] = nothing) -> None:
    def written_and_prepared() -> None:
        write_new(host)
        prepare()

    undo.carry_out(host, CHANGE, written_and_prepared, cut)


def unconfirmed(host: Server) -> Server:
    """The change is made, and kmuctl could not prove that somebody still comes in."""
    host.lets_in = None
    carry_out(host)
    return host


def contents(host: Server) -> tuple[bytes | None, bytes | None]:
    return host.read(THERE), host.read(ABSENT)


def test_confirmed_the_change_stays(host: Server) -> None:
    carry_out(host)
    assert contents(host) == (NEW, NEW)
    assert not undo.armed(host, "firewall")
    assert [path for path in host.nodes if "undo-" in path] == []


def test_the_timer_is_enabled_before_anything_changes(host: Server) -> None:
    """A reboot starts it anew."""
    seen: list[bool] = []

    def look() -> None:
        seen.append(TIMER in host.systemd.enabled and TIMER in host.systemd.active and host.read(THERE) == OLD)

    undo.carry_out(host, CHANGE, look, nothing)
    assert seen == [True]


def test_the_timer_says_how_long() -> None:
    text = undo.unit_files("firewall", 7)[f"{UNITS}/kmuctl-undo-firewall.timer"].decode()
    assert {"OnActiveSec=7min", "WantedBy=timers.target"} <= {*text.splitlines()}


def test_killed_after_the_change_the_machine_takes_it_back(host: Server) -> None:
    """Nothing of kmuctl is needed for it."""
    undo.arm(host, CHANGE)
    write_new(host)
    host.systemd.undo("firewall")
    assert contents(host) == (OLD, None)
    assert host.facts([THERE])[THERE].mode == 0o640
    assert undo.undone(host, "firewall")
    assert TIMER not in host.systemd.enabled


def test_armed_again_the_first_copies_stay(host: Server) -> None:
    """Killed between change and confirmation, and run again: the way back leads to before both."""
    undo.arm(host, CHANGE)
    write_new(host)
    undo.arm(host, CHANGE)
    host.systemd.undo("firewall")
    assert contents(host) == (OLD, None)


def test_a_copy_that_was_cut_off_counts_for_nothing(host: Server) -> None:
    host.write("/var/lib/kmuctl/undo/firewall/0", b"half")
    undo.arm(host, CHANGE)
    host.systemd.undo("firewall")
    assert host.read(THERE) == OLD


def test_killed_in_the_middle_the_change_is_not_taken_for_complete(host: Server) -> None:
    undo.arm(host, CHANGE)
    write_new(host)
    assert undo.cut_off(host, "firewall")
    assert confirmation.waiting(host) == []
    with pytest.raises(HostError, match="the change of firewall is not complete yet"):
        confirmation.confirm_all(host)


def test_a_failed_change_is_undone_at_once(host: Server) -> None:
    def full() -> None:
        raise HostError("the disk is full", hint="free some space")

    with pytest.raises(StepFailed, match="the disk is full; the change is undone") as caught:
        carry_out(host, full)
    assert caught.value.hint == "free some space"
    assert contents(host) == (OLD, None)
    assert undo.undone(host, "firewall") == ""


def test_where_the_link_broke_the_machine_does_it_alone(host: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(name: str) -> Answer:
        raise HostError("connection lost")

    host.lets_in = False
    monkeypatch.setattr(host.systemd, "undo", cut_off)
    with pytest.raises(StepFailed, match="the machine undoes the change by itself within 7 minutes"):
        carry_out(host)
    assert undo.armed(host, "firewall")


# the undo strikes while the change is still being made


def test_nothing_is_cut_once_the_undo_was_faster(host: Server) -> None:
    """What was done behind it is taken back too, and it is not said that a machine will do what it has done."""
    cut: list[bool] = []

    def slow() -> None:
        host.systemd.undo("firewall")
        write_new(host)

    with pytest.raises(StepFailed, match=r"took longer than 7 min.*; the change is undone") as caught:
        carry_out(host, slow, lambda: cut.append(True))
    assert "undo_minutes" in caught.value.hint
    assert cut == []
    assert contents(host) == (OLD, None)
    assert host.facts([THERE])[THERE].mode == 0o640


def test_an_undo_before_anything_was_done_leaves_all_alone(host: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = undo.arm

    def slow(host_: Server, change: undo.Guarded) -> None:
        arm(host_, change)
        host_.systemd.undo("firewall")

    monkeypatch.setattr(undo, "arm", slow)
    with pytest.raises(StepFailed, match="undone before it began"):
        carry_out(host)
    assert contents(host) == (OLD, None)


def test_an_undo_during_the_last_command_is_noticed(host: Server) -> None:
    def slow() -> None:
        host.systemd.undo("firewall")
        write_new(host)

    with pytest.raises(StepFailed, match="the change is undone"):
        carry_out(host, cut=slow)
    assert contents(host) == (OLD, None)
    assert not undo.armed(host, "firewall")


def test_the_time_begins_anew_before_and_after_the_cut(host: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, ...]] = []
    run = host.systemd.run

    def heard(words: tuple[str, ...]) -> Answer:
        said.append(words)
        return run(words)

    monkeypatch.setattr(host.systemd, "run", heard)
    host.lets_in = None
    carry_out(host, lambda: said.append(("prepared",)), lambda: said.append(("cut",)))
    start = ("restart", TIMER)
    assert [words for words in said if words in (start, ("prepared",), ("cut",))] == [
        start, ("prepared",), start, ("cut",), start,
    ]  # fmt: skip


# the proof


def test_while_sshd_is_away_the_proof_is_tried_again(host: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((Unreachable("refused"), Unreachable("it hung up"), True))
    monkeypatch.setattr(undo, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(host, "enter_again", lambda: _told(next(answers)))
    carry_out(host)
    assert not undo.armed(host, "firewall")


def test_a_refused_key_is_not_offered_again(host: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """fail2ban would ban the admin for it."""
    answers = iter((HostError("the server takes none of the keys"), True))
    monkeypatch.setattr(host, "enter_again", lambda: _told(next(answers)))
    with pytest.raises(StepFailed, match="takes none of the keys; the change is undone"):
        carry_out(host)
    assert next(answers) is True


def _told(answer: Exception | bool) -> bool:
    if isinstance(answer, Exception):
        raise answer
    return answer


# the confirmation


def test_a_session_from_before_the_change_confirms_nothing(host: Server) -> None:
    """Also not the second one that was opened for another change before."""
    host.came = replace(host.came, since=float(host.tick()))
    unconfirmed(host)
    with pytest.raises(HostError, match="not known to be newer than the change of firewall") as caught:
        confirmation.confirm_all(host)
    assert caught.value.hint.startswith("open one NOW")
    assert undo.armed(host, "firewall")


def test_a_session_that_began_after_it_does(host: Server) -> None:
    unconfirmed(host)
    host.came = replace(host.came, since=float(host.tick()))
    assert confirmation.confirm_all(host) == ["firewall"]
    assert contents(host) == (NEW, NEW)


def test_a_shell_that_outlived_its_session_confirms_nothing(host: Server) -> None:
    """tmux of a root whose sudo took all variables: nobody knows when that sign-in was, only that it was one."""
    unconfirmed(host)
    host.came = Entry(user="root", session="sign-in 7")
    with pytest.raises(HostError, match="not known to be newer"):
        confirmation.confirm_all(host)


def test_on_the_machines_own_console_nobody_is_locked_out(host: Server) -> None:
    unconfirmed(host)
    host.came = Entry(user="root")
    assert confirmation.confirm_all(host) == ["firewall"]


def test_a_confirmation_that_comes_too_late_is_none(host: Server) -> None:
    unconfirmed(host)
    host.systemd.undo("firewall")
    with pytest.raises(StepFailed, match=r"undone at 2026.*: the confirmation came too late"):
        undo.confirm(host, "firewall")


def test_on_a_full_disk_the_marker_is_empty_and_counts(host: Server) -> None:
    host.write(undo.marker("firewall"), b"")
    assert undo.undone(host, "firewall") == "an unknown time"


def test_an_undo_that_struck_before_anybody_was_asked_fails_the_run(host: Server) -> None:
    step = confirmation.confirmed_step(["firewall"], 1, after=())
    unconfirmed(host)
    host.systemd.undo("firewall")
    drift = step.check(host)
    assert drift is not None and drift.hopeless
    assert drift.cause == "nobody confirmed, so the machine undid: firewall (at 2026-11-28 20:00:00 UTC)"
    undo.forget(host)
    assert step.check(host) is None
