"""`kmuctl exec` and its like with a person in front of them, on a server."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.drivers.sshd import Sshd

pytestmark = pytest.mark.tool

PROGRAM = """
import sys
from pathlib import Path
from kmuctl.drivers.ssh.host import SshHost
from kmuctl.drivers.ssh.settings import Settings
from tests.drivers.sshd import Answers
folder = Path(sys.argv[1])
host = SshHost(Settings(name="lab", host="127.0.0.1", port=int(sys.argv[2]), user="root", keys=(folder / "key",),
    agent=False, known_hosts=(folder / "known_hosts",)), Answers())
code = host.foreground(sys.argv[3:], {})
host.close()
sys.exit(code)
"""


class Terminal:
    def __init__(self, server: Sshd, *command: str) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (30, 100))
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(server.folder), str(server.port), *command],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
        )  # fmt: skip
        self.said = ""

    def expect(self, text: str) -> None:
        end = monotonic() + 20
        while text not in self.said:
            assert monotonic() < end, f"no {text!r} in {self.said!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.said += os.read(self.master, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self.master, self.slave):
            os.close(end)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_a_terminal_there_as_here(server: Sshd, terminals: list[Terminal], tmp_path: Path) -> None:
    """Its size, its keys, the exit code; and afterwards this one is as it was."""
    script = 'test -t 0 && test -t 1 && stty size; read -r line; echo "got $line"; exit 5'
    terminal = Terminal(server, "sh", "-c", script)
    terminals.append(terminal)
    terminal.expect("30 100")
    terminal.type("hello\r")
    terminal.expect("got hello")
    assert terminal.process.wait(20) == 5
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_ctrl_c_goes_to_the_server(server: Sshd, terminals: list[Terminal]) -> None:
    terminal = Terminal(server, "sh", "-c", "trap 'echo stopped; exit 9' INT; echo ready; while :; do sleep 0.1; done")
    terminals.append(terminal)
    terminal.expect("ready")
    terminal.type("\x03")
    terminal.expect("stopped")
    assert terminal.process.wait(20) == 9
