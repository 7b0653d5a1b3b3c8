"""Machines of their own on this one: a network and a few folders that nobody else sees, for real packet filters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.model.host import Answer, Entry, Fact
from tests.fakes import Untaught

LISTEN = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(9) or b"-")
"""
TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.5) as connection:
    connection.sendall(b"hello")
    print(connection.recv(9))
"""
BEFORE = """
mount --make-rprivate /
for folder in /usr/local/lib /var/lib /var/log /run /etc/systemd/system; do mount -t tmpfs none "$folder"; done
mkdir /run/fail2ban /var/lib/fail2ban /run/sshd
for folder in ufw default fail2ban; do mount --bind "$1/$folder" "/etc/$folder"; done
ip link set lo up
echo ready
exec sleep 600
"""


class Place:
    """A network namespace, alive as long as the process that holds it."""

    def __init__(self, holder: subprocess.Popen[str]) -> None:
        self.pid = holder.pid

    def run(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        entered = ["nsenter", f"--target={self.pid}", "--net", "--mount", *command]
        return subprocess.run(entered, input=stdin, capture_output=True, timeout=60, check=False)

    def do(self, *lines: str) -> None:
        """Commands that must work, a line each."""
        for line in lines:
            done = self.run(*line.split())
            assert done.returncode == 0, f"{line}: {done.stderr.decode()}"

    @contextmanager
    def listening(self, *ports: int) -> Iterator[None]:
        """Someone who answers at each of these ports."""
        with ExitStack() as running:
            for port in ports:
                entered = ["nsenter", f"--target={self.pid}", "--net", sys.executable, "-c", LISTEN, str(port)]
                running.enter_context(_running(entered))
            yield

    def reaches(self, address: str, port: int) -> bool:
        return self.run(sys.executable, "-c", TALK, address, str(port)).returncode == 0


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.fail(f"{' '.join(command)[:80]}: did not start; namespaces need root", pytrace=False)
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout and process.stdout.close()


@contextmanager
def place() -> Iterator[Place]:
    with _running(["unshare", "--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep 600"]) as holder:
        yield Place(holder)


class SealedHost(LocalHost):
    """This machine's programs, on a network and with configuration of their own. Its systemd knows our units."""

    def __init__(self, here: Place) -> None:
        self.place = here
        self.enabled: set[str] = {"ufw.service"}
        self.active: set[str] = set()
        self.came = Entry(user="root", ssh_port=2222)

    def _inside(self, path: str) -> str:
        return f"/proc/{self.place.pid}/root{path}"

    def read(self, path: str) -> bytes | None:
        return super().read(self._inside(path))

    def facts(self, paths: Iterable[str]) -> dict[str, Fact]:
        found = super().facts(map(self._inside, paths))
        return {path.removeprefix(self._inside("")): fact for path, fact in found.items()}

    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        super().write(self._inside(path), content, mode=mode, uid=uid)

    def make_folder(self, path: str, *, mode: int, uid: int) -> None:
        super().make_folder(self._inside(path), mode=mode, uid=uid)

    def remove(self, path: str) -> None:
        self.place.do(f"rm -rf {path}")

    def entry(self) -> Entry:
        return self.came

    def enter_again(self) -> bool:
        return True

    def run(self, command: Sequence[str], *, stdin: bytes = b"", folder: str | None = None) -> Answer:
        if command[0] == "systemctl":
            return self._systemctl(*command[1:])
        done = self.place.run(*command, stdin=stdin)
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _systemctl(self, verb: str, *words: str) -> Answer:
        unit = words[-1] if words else ""
        if unit == "fail2ban.service" and verb in ("restart", "is-active"):
            return self._fail2ban(verb)
        match verb:
            case "is-enabled" | "is-active":
                known = self.enabled if verb == "is-enabled" else self.active
                return Answer(0, f"{verb.removeprefix('is-')}\n") if unit in known else Answer(3, "inactive\n")
            case "enable" | "start" | "restart" | "reload-or-restart":
                (self.enabled if verb == "enable" else self.active).add(unit)
                return self._started(unit) if verb == "reload-or-restart" else Answer(0, "")
            case "disable":
                self.enabled.discard(unit)
                self.active.discard(unit)
            case "show" | "daemon-reload":
                pass
            case _:
                raise Untaught(f"systemctl {verb}")
        return Answer(0, "")

    def _fail2ban(self, verb: str) -> Answer:
        """Its unit starts the server, and is active as long as that runs."""
        if verb == "restart":
            return self.run(("fail2ban-server", "start"))
        answers = self.run(("fail2ban-client", "ping")).code == 0
        return Answer(0, "active\n") if answers else Answer(3, "inactive\n")

    def _started(self, unit: str) -> Answer:
        text = (self.read(f"/etc/systemd/system/{unit}") or b"").decode()
        start = next(line for line in text.splitlines() if line.startswith("ExecStart="))
        return self.run(start.partition("=")[2].split())


@contextmanager
def sealed_host(folder: Path) -> Iterator[SealedHost]:
    """With copies of this machine's ufw, switched off, and of its fail2ban."""
    for name in ("ufw", "default", "fail2ban"):
        shutil.copytree(f"/etc/{name}", folder / name)
    conf = folder / "ufw" / "ufw.conf"
    conf.write_text(conf.read_text().replace("ENABLED=yes", "ENABLED=no"))
    with _running(["unshare", "--net", "--mount", "sh", "-ec", BEFORE, "sh", str(folder)]) as holder:
        yield SealedHost(Place(holder))
