"""One kmuctl at a time; a dead one does not stand in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.model.errors import Busy, HostError
from kmuctl.operations.lock import JOURNAL_LINES, journaled, locked, note
from tests.fakes import FakeHost, Machine

FOLDER = "/opt/kmu"
HOLD = """
import sys, time
from kmuctl.drivers.local import LocalHost
with LocalHost().lock(sys.argv[1], "`kmuctl up`, process 4711"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_is_free_afterwards() -> None:
    host = Machine().host()
    with locked(host, FOLDER, "up"):
        assert host.held[f"{FOLDER}/state/lock"].startswith("`kmuctl up`, process ")
    assert host.held == {}


def test_the_lock_is_free_after_ctrl_c() -> None:
    host = Machine().host()
    with pytest.raises(KeyboardInterrupt), locked(host, FOLDER, "up"):
        raise KeyboardInterrupt
    assert host.held == {}


def holding(path: Path) -> subprocess.Popen[str]:
    """Another process that has the lock."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout and other.stdout.readline() == "held\n"
    return other


def test_a_second_kmuctl_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    """Exit code 4 with the name of who is at work; killed without a chance to clean up, it holds nothing."""
    path = tmp_path / "lock"
    with holding(path) as other:
        for _ in range(2):
            with pytest.raises(Busy) as caught, LocalHost().lock(str(path), "second"):
                pytest.fail("two at a time")
            assert caught.value.exit_code == 4
            assert caught.value.message == "another kmuctl is at work here: `kmuctl up`, process 4711"
        other.kill()
    with LocalHost().lock(str(path), "third"):
        assert path.read_text() == "third"


def journal(host: FakeHost) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.text(f"{FOLDER}/state/journal.jsonl").splitlines()]


def test_the_journal_says_how_a_command_ended() -> None:
    host = FakeHost()
    with journaled(host, FOLDER, "up", only="") as end:
        end.update(event="ended", change=3)
    with pytest.raises(KeyboardInterrupt), journaled(host, FOLDER, "up"):
        raise KeyboardInterrupt
    with pytest.raises(HostError), journaled(host, FOLDER, "up"):
        raise HostError("no engine")
    events = [line["event"] for line in journal(host)]
    assert events == ["started", "ended", "started", "interrupted", "started", "failed"]
    assert {"command": "up", "change": 3}.items() <= journal(host)[1].items()
    assert "seconds" in journal(host)[1]


def test_a_full_disk_at_the_end_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done stays done, and is told; at the start it stops everything."""

    def full(*_: object, **__: object) -> None:
        raise HostError("no space left on device")

    host = FakeHost()
    with journaled(host, FOLDER, "up"):
        monkeypatch.setattr(host, "write", full)
    with pytest.raises(ZeroDivisionError), journaled(FakeHost(), FOLDER, "up"):
        raise ZeroDivisionError
    with pytest.raises(HostError), journaled(host, FOLDER, "up"):
        pytest.fail("started all the same")


def test_the_journal_grows_line_by_line_and_not_for_ever() -> None:
    host = FakeHost()
    for number in range(JOURNAL_LINES + 3):
        note(host, FOLDER, {"command": "up", "number": number})
    lines = journal(host)
    assert [line["number"] for line in lines] == list(range(3, JOURNAL_LINES + 3))
    assert all("time" in line for line in lines)
    assert host.nodes[f"{FOLDER}/state/journal.jsonl"].mode == 0o600
