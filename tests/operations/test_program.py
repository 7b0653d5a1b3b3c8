"""kmuctl on a server that is worked on from elsewhere: installed, renewed, removed, or said why not."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kmuctl import __version__, assets
from kmuctl.model.step import Outcome, State
from kmuctl.operations import program, wheel
from kmuctl.operations.down import purge, purgeable
from kmuctl.operations.program import FOLDER, LINK, program_of, program_step, program_steps
from kmuctl.operations.timers import CERTS, UNITS, timer_step
from tests.fakes import FakeHost
from tests.operations.scenes import bring, empty, go_up
from tests.support import stack

SERVER = {"address": "ssh://root@203.0.113.9", "ipv4": "203.0.113.9"}


def install(host: FakeHost) -> Outcome:
    return bring([program_step()], host)["program"]


def test_the_servers_timers_call_the_kmuctl_that_is_there() -> None:
    """K8: `up` from a laptop leaves a server that renews by itself."""
    host = empty()
    outcomes = go_up(host, host=SERVER)
    assert outcomes["program"].state is State.CHANGE
    assert f"ExecStart={LINK} --host local --site /opt/kmu/kmu.toml certs sync" in host.text(
        f"{UNITS}/kmuctl-certs.service"
    )
    assert host.python.links[LINK].startswith(f"{FOLDER}/{__version__}-")


def test_on_the_machine_itself_nothing_is_installed() -> None:
    assert [*program_steps(stack())] == []
    assert program_of(stack()) != (LINK,)


def test_the_second_time_nothing_happens() -> None:
    """U36."""
    host = empty()
    assert install(host).state is State.CHANGE
    assert install(host).state is State.OK


def test_another_version_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the old one is gone."""
    host = empty()
    install(host)
    before = host.python.links[LINK]
    monkeypatch.setattr(program, "wheel", lambda: b"another")
    outcome = install(host)
    assert (outcome.state, outcome.cause) == (State.CHANGE, "another kmuctl is there")
    assert host.python.links[LINK] != before
    assert {path.split("/")[5] for path in host.nodes if path.startswith(f"{FOLDER}/")} == {
        host.python.links[LINK].split("/")[5]
    }


def test_without_packages_it_fails_and_leaves_nothing() -> None:
    host = empty()
    host.python.index = False
    outcome = install(host)
    assert outcome.state is State.FAILED
    assert "No matching distribution" in outcome.cause
    assert "package index" in outcome.hint
    assert not [path for path in host.nodes if path.startswith(f"{FOLDER}/")]
    host.python.index = True
    assert install(host).state is State.CHANGE


@pytest.mark.parametrize(
    ("version", "has_venv", "words"),
    [("3.10", True, "it has Python 3.10, and 3.11 is needed"), ("", True, "it has no Python"),
     ("3.11", False, "its Python has no `venv`")],
)  # fmt: skip
def test_a_server_on_which_it_cannot_run(version: str, has_venv: bool, words: str) -> None:
    """The site runs all the same; the admin is told each time, and no timer calls what is not there."""
    host = empty()
    host.python.version, host.python.has_venv = version, has_venv
    outcomes = bring([program_step(), timer_step(stack(host=SERVER), CERTS, (LINK,), after=("program",))], host)
    assert {outcome.state for outcome in outcomes.values()} == {State.OK}
    assert outcomes["program"].warning.startswith(f"kmuctl cannot run on the server ({words}), so nothing renews ")
    assert host.tree(UNITS) == []


def test_purge_takes_it_along() -> None:
    host = empty()
    site = stack(host=SERVER)
    go_up(host, host=SERVER)
    assert {LINK, FOLDER} <= {*purgeable(site, host)}
    purge(site, host)
    assert not [path for path in host.nodes if "kmuctl" in path and path != "/opt/kmu/kmu.toml"]


def test_a_kmuctl_of_somebody_else_stays() -> None:
    host = empty()
    host.write(LINK, b"#!/bin/sh\n")
    assert LINK not in purgeable(stack(host=SERVER), host)


def test_the_wheel_is_always_the_same() -> None:
    first = wheel.wheel()
    wheel.wheel.cache_clear()
    assert wheel.wheel() == first


def test_the_wheel_has_all_that_is_needed() -> None:
    """K17: code, templates, and by what name it is called."""
    with zipfile.ZipFile(io.BytesIO(wheel.wheel())) as archive:
        names = {*archive.namelist()}
        entries = archive.read(f"{wheel.INFO}/entry_points.txt").decode()
    assert {f"kmuctl/assets/{name}" for name in assets.sources()} <= names
    assert {"kmuctl/cli/program.py", "kmuctl/panel/Dockerfile", "kmuctl/panel/pages/base.html"} <= names
    assert "kmuctl = kmuctl.cli:main" in entries
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.tool
def test_pip_takes_the_wheel(tmp_path: Path) -> None:
    """Without its dependencies, which need a package index."""
    (tmp_path / wheel.NAME).write_bytes(wheel.wheel())
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path / "to"),
    ]
    subprocess.run([*pip, str(tmp_path / wheel.NAME)], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "kmuctl", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "to"), "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert done.stdout == f"{__version__}\n"
