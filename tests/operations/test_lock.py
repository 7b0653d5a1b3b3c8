"""One kmuctl at a time; a dead one does not stand in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.model.errors import Busy
from kmuctl.operations.lock import JOURNAL_LINES, locked, note
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


def test_the_journal_grows_line_by_line_and_not_for_ever() -> None:
    host = FakeHost()
    for number in range(JOURNAL_LINES + 3):
        note(host, FOLDER, {"command": "up", "number": number})
    lines = [json.loads(line) for line in host.text(f"{FOLDER}/state/journal.jsonl").splitlines()]
    assert [line["number"] for line in lines] == list(range(3, JOURNAL_LINES + 3))
    assert all("time" in line for line in lines)
    assert host.nodes[f"{FOLDER}/state/journal.jsonl"].mode == 0o600
