"""A real sshd on loopback, with keys and files of its own; nothing of this machine's own is touched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep

import pytest

from kmuctl.drivers.ssh.host import SshHost
from kmuctl.drivers.ssh.settings import Settings

PROGRAM = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SEPARATION = Path("/run/sshd")
"""sshd insists on it, and Debian makes it when the service starts."""
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_ed25519
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
LogLevel ERROR
SetEnv SHLVL=2
"""


@dataclass
class Answers:
    """Somebody at a terminal, who knows these secrets by a word of the question; or nobody."""

    accepts_new_keys: bool = False
    agrees: bool = False
    secrets: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def agree(self, question: str) -> bool:
        self.asked.append(question)
        return self.agrees

    def secret(self, question: str) -> str | None:
        self.asked.append(question)
        return next((answer for word, answer in self.secrets.items() if word in question), None)


@dataclass(frozen=True)
class Sshd:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def settings(self) -> Settings:
        return Settings(
            name="lab", host="127.0.0.1", port=self.port, user="root", keys=(self.folder / "key",), named_keys=True,
            agent=False, known_hosts=(self.folder / "known_hosts",),
        )  # fmt: skip

    def host(self, people: Answers | None = None, **changes: object) -> SshHost:
        return SshHost(replace(self.settings(), **changes), people or Answers())  # type: ignore[arg-type]

    def sessions(self) -> list[int]:
        """The processes that serve connections now."""
        listed = subprocess.run(
            ["ps", "--ppid", str(self.process.pid), "-o", "pid="], capture_output=True, text=True, check=False
        )
        return [int(number) for number in listed.stdout.split()]


def make_key(path: Path, *, passphrase: str = "", kind: str = "ed25519") -> Path:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def allow(folder: Path, *keys: Path) -> None:
    (folder / "authorized_keys").write_text("".join(Path(f"{key}.pub").read_text() for key in keys))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def sshd(folder: Path, more: str = "") -> Iterator[Sshd]:
    """Takes the key `key` in the folder, and is known in the file `known_hosts` there."""
    if PROGRAM is None or os.geteuid() != 0:
        pytest.skip("needs root and sshd: `apt install openssh-server`")
    SEPARATION.mkdir(mode=0o755, exist_ok=True)
    if not (folder / "host_ed25519").exists():
        make_key(folder / "host_ed25519")
        allow(folder, make_key(folder / "key"))
    port = free_port()
    know(folder, port, folder / "host_ed25519.pub")
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder) + more)
    with subprocess.Popen(
        [PROGRAM, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
    ) as process:
        try:
            _await(port)
            yield Sshd(folder, port, process)
        finally:
            process.terminate()


def know(folder: Path, port: int, public: Path) -> None:
    kind, key, *_ = public.read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")


def _await(port: int) -> None:
    end = monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert monotonic() < end, "sshd does not listen"
            sleep(0.02)
        else:
            return
