"""For all tests: properties are not judged by the clock of a busy machine; who has no engine loses what needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("kmuctl", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kmuctl")

if "PYTEST_XDIST_WORKER" in os.environ:
    sys.argv[0] = pytest.__file__  # a worker has none, and a timer's units name the program that made them


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine with Compose."""
    if not (shutil.which("docker") and _succeeds("docker", "version") and _succeeds("docker", "compose", "version")):
        pytest.skip("no Docker engine with Compose: `tests/lab/lab engine` and `tests/lab/lab images` make one")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
