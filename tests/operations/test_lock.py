"""One kmuctl at a time; a dead one does not stand in the way."""

from __future__ import annotations

import json
import os

import pytest

from kmuctl.model.errors import Busy, HostError
from kmuctl.model.host import Answer
from kmuctl.operations import lock
from kmuctl.operations.lock import BOOT_ID, JOURNAL_LINES, locked, note
from tests.fakes import FakeHost, Machine, process

FOLDER = "/opt/kmu"
LOCK = f"{FOLDER}/state/lock"


@pytest.fixture(autouse=True)
def _quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PAUSE_SECONDS", 0)


def machine() -> FakeHost:
    host = Machine().host()
    process(host, os.getpid(), started=100)
    process(host, 4711, started=50)
    return host


def held_by(host: FakeHost, **changes: object) -> None:
    """A lock as another kmuctl left it."""
    holder = {"pid": 4711, "started": "50", "boot": "11111111-2222", "command": "up", "since": "2026-11-21T03:00:00"}
    host.write(f"{LOCK}/holder.json", json.dumps(holder | changes).encode(), mode=0o600)


def test_the_lock_is_gone_afterwards() -> None:
    host = machine()
    with locked(host, FOLDER, "up"):
        assert LOCK in host.nodes
        assert json.loads(host.text(f"{LOCK}/holder.json"))["pid"] == os.getpid()
    assert LOCK not in host.nodes


def test_the_lock_is_gone_after_ctrl_c() -> None:
    host = machine()
    with pytest.raises(KeyboardInterrupt), locked(host, FOLDER, "up"):
        raise KeyboardInterrupt
    assert LOCK not in host.nodes


def test_a_second_kmuctl_is_refused() -> None:
    """Exit code 4, with the name of who is at work; that one's lock stays."""
    host = machine()
    held_by(host)
    with pytest.raises(Busy) as caught, locked(host, FOLDER, "down"):
        pytest.fail("two at a time")
    assert caught.value.exit_code == 4
    assert caught.value.message == ("another kmuctl is at work here: `up`, process 4711, since 2026-11-21T03:00:00")
    assert caught.value.hint == "wait until it is done, then run this again"
    assert f"{LOCK}/holder.json" in host.nodes


def test_the_same_process_is_not_let_in_twice() -> None:
    host = machine()
    with locked(host, FOLDER, "up"), pytest.raises(Busy), locked(host, FOLDER, "up"):
        pytest.fail("two at a time")


DEAD = {
    "no such process": {"pid": 99999},
    "another process of that number": {"started": "7"},
    "another boot": {"boot": "33333333-4444"},
}


@pytest.mark.parametrize("changes", DEAD.values(), ids=DEAD)
def test_a_dead_one_is_taken_over(changes: dict[str, object]) -> None:
    """kill -9, or a power cut, in the middle of `up`."""
    host = machine()
    held_by(host, **changes)
    with locked(host, FOLDER, "up"):
        assert json.loads(host.text(f"{LOCK}/holder.json"))["pid"] == os.getpid()


def test_a_lock_without_a_name_on_it_is_taken_over() -> None:
    """Killed between two system calls."""
    host = machine()
    host.make_folder(LOCK, mode=0o700, uid=0)
    with locked(host, FOLDER, "up"):
        pass


def test_a_lock_that_is_just_being_made_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two start at the same moment: one has the folder, but its name does not stand in it yet."""
    host = machine()
    host.make_folder(LOCK, mode=0o700, uid=0)
    monkeypatch.setattr(lock, "sleep", lambda seconds: held_by(host))
    with pytest.raises(Busy), locked(host, FOLDER, "up"):
        pytest.fail("two at a time")


def test_a_folder_that_cannot_be_made_is_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine()
    monkeypatch.setattr(host, "run", lambda command: Answer(1, "", "Permission denied"))
    with pytest.raises(HostError, match="cannot make"), locked(host, FOLDER, "up"):
        pytest.fail("not locked")


def test_a_process_name_may_hold_anything() -> None:
    """/proc/PID/stat has the program's name in brackets, brackets and blanks included."""
    host = machine()
    process(host, 4711, started=50, name="a) b (c")
    held_by(host)
    with pytest.raises(Busy), locked(host, FOLDER, "up"):
        pytest.fail("two at a time")


def test_the_journal_grows_line_by_line_and_not_for_ever() -> None:
    host = machine()
    for number in range(JOURNAL_LINES + 3):
        note(host, FOLDER, {"command": "up", "number": number})
    lines = [json.loads(line) for line in host.text(f"{FOLDER}/state/journal.jsonl").splitlines()]
    assert [line["number"] for line in lines] == list(range(3, JOURNAL_LINES + 3))
    assert all("time" in line for line in lines)
    assert host.nodes[f"{FOLDER}/state/journal.jsonl"].mode == 0o600


def test_the_boot_is_read_where_linux_keeps_it() -> None:
    assert machine().read(BOOT_ID) is not None
