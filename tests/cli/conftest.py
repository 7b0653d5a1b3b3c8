"""No test here touches the machine it runs on: an empty folder, a host in memory, no engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmuctl.operations import plan
from tests.fakes import FakeHost
from tests.operations.scenes import empty, quick_render


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    machine = empty()
    machine.teach("ip", "-json", "-4", "route", "get", stdout='[{"prefsrc": "198.51.100.9"}]')
    for module in ("init", "host"):
        monkeypatch.setattr(f"kmuctl.commands.{module}.LocalHost", lambda: machine)
    for module in ("compare", "up"):
        monkeypatch.setattr(f"kmuctl.operations.{module}.render", quick_render)
    monkeypatch.setattr(plan, "POLL_SECONDS", 0.001)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KMUCTL_SITE", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    return machine
