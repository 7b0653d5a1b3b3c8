"""What the command line promises about itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmuctl import __version__
from kmuctl.cli import EXIT_CODES, app
from tests.cli.runner import ROOT, as_json, environment, kmuctl, program, site_file

COMMANDS = [
    "init", "harden", "render", "up", "down", "status", "logs", "exec", "occ", "stalwart-cli", "login-link", "dns",
]  # fmt: skip
GROUPS = {"certs": ["sync"], "secrets": ["list", "rotate"]}
WITHIN = [f"{group} {name}" for group, names in GROUPS.items() for name in names]
HEAVY = (
    "pydantic",
    "docker",
    "jinja2",
    "httpx",
    "psycopg",
    "ruamel",
    "cryptography",
    "tomlkit",
    "dotenv",
    "fastapi",
    "paramiko",
)


def test_help_lists_exactly_the_commands() -> None:
    """K98."""
    listed = kmuctl("--help").stdout.split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert names == [*COMMANDS, *GROUPS]
    assert [command.name for command in app.registered_commands] == COMMANDS


@pytest.mark.parametrize("command", [*COMMANDS, *WITHIN])
def test_every_command_has_help(command: str) -> None:
    """K98: each option says what it is for, and --json is everywhere."""
    text = kmuctl(*command.split(), "--help").stdout
    assert "--json" in text
    options = re.findall(r"^  (?:-\w, )?(--[\w-]+)(?: [A-Z][\w.|]*)?( {2,}\S|$)", text, re.MULTILINE)
    assert len(options) >= 2


def test_exit_codes_are_in_the_help() -> None:
    assert EXIT_CODES.split(":")[0] in kmuctl("--help").stdout


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [*COMMANDS, *WITHIN])
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"\bkmuctl {command}\b", readme())


@pytest.mark.parametrize("code", re.findall(r"\b(\d+) ", EXIT_CODES))
def test_every_exit_code_is_in_the_readme(code: str) -> None:
    assert re.search(rf"^\| `?{code}`? \|", readme(), re.MULTILINE)


def test_every_command_that_the_readme_shows_exists() -> None:
    shown = set(re.findall(r"^\s*(?:\$ |sudo )*kmuctl ([a-z]+)", readme(), re.MULTILINE))
    assert shown <= {*COMMANDS, *GROUPS}


def test_help_loads_nothing_heavy() -> None:
    """`kmuctl --help` is as quick as Typer itself."""
    code = "import sys; from kmuctl.cli import main; sys.argv[1:] = ['--help']\ntry: main()\nexcept SystemExit: pass\n"
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    loaded = set(done.stderr.split())
    assert "kmuctl.cli" in loaded
    assert {name for name in loaded if name.split(".")[0] in HEAVY or name.startswith("rich.live")} == set()
    assert {name for name in loaded if name.startswith(("kmuctl.services", "kmuctl.drivers"))} == set()


def test_the_version() -> None:
    assert kmuctl("--version").stdout == f"{__version__}\n"
    assert as_json(kmuctl("--json", "--version")) == {"format": 1, "version": __version__}


def test_an_unknown_command_is_a_usage_error() -> None:
    assert "No such command 'deploy'" in kmuctl("deploy", code=2).stderr


def test_the_site_file_may_come_from_the_environment(tmp_path: Path) -> None:
    result = program("render", KMUCTL_SITE=str(tmp_path / "other.toml"))
    assert f"no site file at `{tmp_path / 'other.toml'}`" in result.stderr


@pytest.mark.parametrize("command", ["--help", "--version", "render --diff"])
def test_a_reader_that_has_seen_enough(tmp_path: Path, command: str) -> None:
    """As Python's manual has it: quiet, and exit code 1."""
    site = site_file(path=str(tmp_path / "kmu.toml"))
    line = f"({sys.executable} -m kmuctl --site {site} {command}; echo $? >&2) | true"
    plain = environment(PYTHONUNBUFFERED="")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=plain)
    assert done.stderr == "1\n"


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    site = site_file(path=str(tmp_path / "kmu.toml"))
    line = f"{sys.executable} -m kmuctl --site {site} render --output {tmp_path}/a <&- >&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stderr) == (0, "")


def test_a_site_file_that_may_not_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not said to be missing. Root may look everywhere, so a loop stands for what nobody can open."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr("kmuctl.cli.program.HOST_SITE", tmp_path / "loop")
    assert f"error: cannot read `{tmp_path / 'loop'}`: " in kmuctl("render", code=2).stderr


def test_folders_are_open_whatever_the_umask(tmp_path: Path) -> None:
    """Root's own is often 077, and containers must reach what lies in a folder."""
    site = site_file(path=str(tmp_path / "kmu.toml"))
    line = f"umask 077; {sys.executable} -m kmuctl --site {site} render --output {tmp_path}/a/b"
    subprocess.run(["bash", "-c", line], capture_output=True, check=True, env=environment())
    assert [oct(path.stat().st_mode)[-3:] for path in (tmp_path / "a", tmp_path / "a/b")] == ["755", "755"]
