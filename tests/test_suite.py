"""The tests themselves: who has no engine loses only what needs one, and one test can be run alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_lab_tests_are_skipped_without_an_engine() -> None:
    """U38."""
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    summary = run(*pytest, "tests/lab/test_up.py", DOCKER_HOST="unix:///nowhere.sock")
    assert "skipped" in summary
    assert not {"passed", "failed", "error"} & set(summary.split())


def test_one_test_can_be_run_alone() -> None:
    """U39."""
    assert run("scripts/test", "--fast", "-q", "tests/model/test_stack.py::test_databases").startswith("1 passed")
