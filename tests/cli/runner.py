"""Runs the command line in this process, on a machine in memory; `program` runs it for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from kmuctl.cli import app
from tests.support import CORE

ROOT = Path(__file__).parents[2]
FLAGS = {
    "--domain": "acme.example",
    "--name": "ACME GmbH",
    "--admin-user": "mmustermann",
    "--admin-name": "Max Mustermann",
    "--admin-email": "max@acme.example",
    "--ipv4": "203.0.113.7",
}
TRACEBACK = "Traceback (most recent call last)"


def kmuctl(*arguments: str, code: int = 0) -> Result:
    """One command with its expected exit code. Anything but an orderly end keeps its traceback here too."""
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def init(*more: str, code: int = 0, **changes: str) -> Result:
    """`kmuctl init` with good flags, some of them changed (`admin_user="root"`) or left out ("")."""
    flags = FLAGS | {"--" + name.replace("_", "-"): value for name, value in changes.items()}
    given = [part for flag, value in flags.items() if value for part in (flag, value)]
    return kmuctl("init", *given, *more, code=code)


def site_file(more: str = "", path: str = "kmu.toml") -> Path:
    Path(path).write_text(CORE + more, encoding="utf-8")
    return Path(path)


def written() -> list[str]:
    """Every file below the present folder."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def as_json(result: Result) -> dict[str, Any]:
    """The one object on standard output."""
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def environment(**more: str) -> dict[str, str]:
    """As outside of tests, but with no engine to reach and no colours."""
    known = {key: value for key, value in os.environ.items() if key != "KMUCTL_SITE"}
    return known | {"PYTHONPATH": str(ROOT), "DOCKER_HOST": "unix:///nonexistent.sock", "NO_COLOR": "1"} | more


def program(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """kmuctl as a program of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kmuctl", *arguments],
        capture_output=True, text=True, check=False, env=environment(**more), stdin=subprocess.DEVNULL,
    )  # fmt: skip
