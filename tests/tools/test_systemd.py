"""The units that `up` installs, read by systemd's own checker. Whether they run is for a machine with systemd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kmuctl.operations.timers import TIMERS, Timer, unit_files
from tests.support import stack
from tests.tools.programs import program, run

pytestmark = pytest.mark.tool


@pytest.fixture(params=TIMERS, ids=lambda timer: timer.name)
def timer(request: pytest.FixtureRequest) -> Timer:
    known: Timer = request.param
    return known


def complaints(folder: Path, files: dict[str, bytes]) -> str:
    """What systemd does not like; for an unknown key it only warns."""
    paths = [folder / path.rpartition("/")[2] for path in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content)
    command = [program("systemd-analyze"), "verify", "--man=no", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if timers_of(line))


def timers_of(line: str) -> bool:
    """A machine may have units of its own that are not in order."""
    return any(timer.name in line for timer in TIMERS)


def test_systemd_accepts_the_units(timer: Timer, tmp_path: Path) -> None:
    """PITFALLS 25: no unknown key, no value out of range, a program that exists."""
    assert complaints(tmp_path, unit_files(stack(), timer, (sys.executable, "-m", "kmuctl"))) == ""


def test_it_would_not_accept_others(timer: Timer, tmp_path: Path) -> None:
    files = unit_files(stack(), timer, (sys.executable, "-m", "kmuctl"))
    broken = {path: content.replace(b"Nice=10", b"Nicer=10") for path, content in files.items()}
    assert "Nicer" in complaints(tmp_path, broken)
    assert "not executable" in complaints(tmp_path, unit_files(stack(), timer, ("/no/kmuctl",)))


def test_the_calendar_is_one(timer: Timer) -> None:
    assert "Next elapse" in run("systemd-analyze", "calendar", timer.calendar)
