"""The admin at a laptop: a home with a key, a folder with the site file, and `kmuctl --host` to the server."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from kmuctl.model.site import load_site
from kmuctl.model.stack import Stack
from kmuctl.services import NAMES, stack_of
from tests.lab.stack import Run, eventually, report
from tests.lab.vps import Vps

ROOT = Path(__file__).parents[2]
HARDEN_SECONDS = 900.0


@dataclass(frozen=True)
class Admin:
    server: Vps
    folder: Path
    user: str = "root"

    @property
    def file(self) -> Path:
        return self.folder / "kmu.toml"

    @property
    def stack(self) -> Stack:
        return stack_of(load_site(self.file, NAMES))

    @property
    def environment(self) -> dict[str, str]:
        """No agent and no settings of the person who runs the tests."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "KMUCTL_"))}
        return {**kept, "HOME": str(self.server.home), "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "kmuctl", "--site", str(self.file), *arguments]

    def kmuctl(self, *arguments: str, within: float = HARDEN_SECONDS) -> Run:
        """Without a terminal: nobody answers questions."""
        return subprocess.run(
            self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=within, check=False,
        )  # fmt: skip

    def report(self, *arguments: str) -> dict[str, Any]:
        """The JSON object of a command that succeeds."""
        return report(self.kmuctl("--json", *arguments))

    def plan(self, *arguments: str) -> dict[str, str]:
        """The steps that the command (`harden`) would take, and why."""
        steps = self.report(*(arguments or ("harden",)), "--dry-run")["steps"]
        return {step["step"]: step["cause"] for step in steps if step["state"] != "ok"}

    def done(self, *arguments: str) -> dict[str, str]:
        """The steps that the command took, and why."""
        return {step["step"]: step["cause"] for step in self.report(*arguments)["steps"]}

    def typing(self, answer: str, question: str, *arguments: str) -> Run:
        """On a terminal, with an answer typed when the question comes; all that was shown is its output."""
        ours, theirs = pty.openpty()
        command = ["setsid", "--ctty", "--wait", *self.command(*arguments)]
        with subprocess.Popen(command, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            said, typed = "", False
            for part in _shown(ours):
                said += part
                if question in said and not typed:
                    eventually(lambda: not _echoes(ours), every=0.05, what="what is typed now is unseen")
                    os.write(ours, f"{answer}\n".encode())
                    typed = True
            os.close(ours)
            return Run(command, process.wait(timeout=60), said, "")

    @contextmanager
    def at_work(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """kmuctl in the middle of something; whatever is left of it in the end is killed."""
        with subprocess.Popen(
            self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def edited(self, change: Callable[[Any], None]) -> Iterator[None]:
        """Another site file for a while; afterwards it is as before, byte by byte."""
        before = self.file.read_text()
        self.edit(change)
        try:
            yield
        finally:
            self.file.write_text(before)

    def edit(self, change: Callable[[Any], None]) -> None:
        document: Any = tomlkit.parse(self.file.read_text())
        change(document)
        self.file.write_text(tomlkit.dumps(document))


def _echoes(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


def _shown(terminal: int) -> Iterator[str]:
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the terminal's other end is closed
            return
        if not part:
            return
        yield part.decode(errors="replace")
