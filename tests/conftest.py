"""For all tests: properties are not judged by the clock of a busy machine; who has no engine loses what needs one."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("kmuctl", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kmuctl")


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine with Compose."""
    if not (shutil.which("docker") and _succeeds("docker", "version") and _succeeds("docker", "compose", "version")):
        pytest.skip("no Docker engine with Compose: `tests/lab/lab engine` and `tests/lab/lab images` make one")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
