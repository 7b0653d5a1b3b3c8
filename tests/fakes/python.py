"""Python on the machine, as far as kmuctl is installed with it, and links."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from kmuctl.model.host import Answer
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

WORDS = ("readlink", "python3", "find", "ln")


class FakePython:
    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.version: str = "3.11"
        """Empty: there is none."""
        self.has_venv = True
        self.index = True
        """Packages can be had."""
        self.links: dict[str, str] = {}

    def clone(self, host: FakeHost) -> FakePython:
        twin = copy.copy(self)
        twin.host, twin.links = host, dict(self.links)
        return twin

    def knows(self, command: tuple[str, ...]) -> bool:
        return command[0] in WORDS or command[0].endswith("/bin/python")

    def look(self, command: tuple[str, ...]) -> Answer:
        match command:
            case ("readlink", "-e", path):
                target = self.links.get(path, path)
                return Answer(0, f"{target}\n") if target in self.host.nodes else Answer(1, "")
            case ("readlink", path):
                linked = path in self.links and path in self.host.nodes
                return Answer(0, f"{self.links[path]}\n") if linked else Answer(1, "")
            case ("python3", "-c", _):
                return self._python()
            case ("find", folder, "-mindepth", "1", "-maxdepth", "1", "-print0"):
                depth = folder.count("/") + 2
                below = {"/".join(path.split("/")[:depth]) for path in self.host.nodes if path.startswith(f"{folder}/")}
                return Answer(0, "".join(f"{path}\0" for path in sorted(below)))
            case ("find", path, "-maxdepth", "0"):
                return Answer(0, f"{path}\n") if path in self.host.nodes else Answer(1, "", "No such file")
        raise Untaught(" ".join(command))

    def run(self, command: tuple[str, ...]) -> Answer:
        match command:
            case ("python3", "-m", "venv", folder):
                self.host.write(f"{folder}/bin/python", b"")
            case (python, "-m", "pip", "install", *_, "--constraint", constraints, wheel):
                if self.host.read(constraints) is None:
                    return Answer(1, "", "ERROR: Could not open requirements file")
                if not self.index or self.host.read(wheel) is None:
                    return Answer(1, "", "ERROR: No matching distribution found for typer")
                self.host.write(f"{python.removesuffix('/python')}/kmuctl", b"")
            case ("ln", "-sT", _, link) if link in self.host.nodes:
                return Answer(1, "", "File exists")
            case ("ln", "-sfT" | "-sT", target, link):
                self.links[link] = target
                self.host.write(link, b"")
            case _:
                raise Untaught(" ".join(command))
        return Answer(0, "")

    def _python(self) -> Answer:
        if not self.version:
            return Answer(127, "")
        if not self.has_venv:
            return Answer(1, "", "ModuleNotFoundError: No module named 'ensurepip'")
        old = tuple(map(int, self.version.split("."))) < (3, 11)
        return Answer(int(old), f"{self.version}\n")
