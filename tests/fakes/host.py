"""A machine in memory: files, a Docker engine, a PostgreSQL cluster and services that keep the promises of real ones.

Strict: a command that nobody taught fails the test, and so does a mount whose source does not lie on the host.
"""

from __future__ import annotations

import copy
import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from time import time
from typing import Any, Self

from kmuctl.drivers import processes
from kmuctl.model.errors import Busy, HostError
from kmuctl.model.host import Answer, Content, Entry, Fact
from tests.fakes.cluster import FakeCluster
from tests.fakes.engine import FakeEngine
from tests.fakes.http import FakeHttp
from tests.fakes.python import FakePython
from tests.fakes.systemd import FakeSystemd
from tests.fakes.tls import FakeTls
from tests.fakes.untaught import Untaught

Run = Callable[[tuple[str, ...], str | None, bytes], Answer]


@dataclass(frozen=True, slots=True)
class Node:
    """One path; a folder has no content."""

    content: bytes | None
    mode: int = 0o755
    uid: int = 0
    written: int = 0

    def fact(self) -> Fact:
        digest = "" if self.content is None else hashlib.sha256(self.content).hexdigest()
        return Fact(digest, self.mode, self.uid, folder=self.content is None, written=self.written)


class FakeHost:
    """Files as a dict, queries as taught answers, `run` for the few commands that kmuctl changes a host with."""

    at_once = 6

    def __init__(self) -> None:
        self.mutex = RLock()
        self.clock = 0
        self.held: dict[str, str] = {}
        self.nodes: dict[str, Node] = {"/": Node(None)}
        self.answers: dict[tuple[str, ...], Answer] = {}
        self.came = Entry(user="root", ssh_port=22, client="198.51.100.20", session="one", by_key=True)
        self.lets_in: bool | None = True
        """Whether a further sign-in works; None: kmuctl runs on the machine itself."""
        self.programs: dict[str, Callable[[tuple[str, ...]], Answer]] = {}
        """By name, for reading and changing: a test brings those that its machine has."""
        self.engine = FakeEngine(self)
        self.cluster = FakeCluster(self)
        self.http = FakeHttp(self)
        self.tls = FakeTls(self)
        self.systemd = FakeSystemd(self)
        self.python = FakePython(self)

    def clone(self) -> Self:
        """The same machine once more, to go another way from here."""
        twin = copy.copy(self)
        twin.mutex = RLock()
        twin.held = dict(self.held)
        twin.nodes, twin.answers = dict(self.nodes), dict(self.answers)
        twin.engine, twin.cluster = self.engine.clone(twin), self.cluster.clone(twin)
        twin.http = self.http.clone(twin)
        twin.tls, twin.systemd, twin.python = FakeTls(twin), self.systemd.clone(twin), self.python.clone(twin)
        return twin

    def teach(self, *command: str, code: int = 0, stdout: str = "", stderr: str = "") -> None:
        """Answer every query that starts with these words."""
        self.answers[command] = Answer(code, stdout, stderr)

    def read(self, path: str) -> bytes | None:
        node = self.nodes.get(path)
        return node.content if node else None

    def text(self, path: str) -> str:
        content = self.read(path)
        assert content is not None, f"no file `{path}`"
        return content.decode()

    def facts(self, paths: Iterable[str]) -> dict[str, Fact]:
        return {path: self.nodes[path].fact() for path in paths if path in self.nodes}

    def tree(self, folder: str) -> list[str]:
        with self.mutex:
            files = [path for path, node in self.nodes.items() if node.content is not None]
        return sorted(path.removeprefix(f"{folder}/") for path in files if path.startswith(f"{folder}/"))

    def query(self, command: Sequence[str]) -> Answer:
        words = tuple(command)
        if words[0] == "systemctl":
            return self.systemd.look(words[1:])
        if words[0] in self.programs:
            return self.programs[words[0]](words[1:])
        if self.python.knows(words):
            return self.python.look(words)
        for length in range(len(words), 0, -1):
            if words[:length] in self.answers:
                return self.answers[words[:length]]
        raise Untaught(f"query: {' '.join(words)}")

    def run(self, command: Sequence[str], *, stdin: bytes = b"", folder: str | None = None) -> Answer:
        if command[0] == "systemctl":
            return self.systemd.run(tuple(command[1:]))
        if command[0] in self.programs:
            return self.programs[command[0]](tuple(command[1:]))
        if self.python.knows(tuple(command)):
            return self.python.run(tuple(command))
        known: dict[str, Run] = {"up": self.engine.compose_up, "down": self.engine.compose_down}
        verb = next((word for word in command if word in known), "")
        if tuple(command[:3]) != ("docker", "compose", "--project-name") or not verb:
            raise Untaught(f"run: {' '.join(command)}")
        with self.mutex:
            return known[verb](tuple(command), folder, stdin)

    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        with self.mutex:
            self._parents(path)
            present = self.nodes.get(path, Node(b""))
            assert present.content is not None, f"`{path}` is a folder"
            same = path in self.nodes and present.content == content
            self.nodes[path] = Node(content, mode, uid, present.written if same else self.tick())

    def write_all(self, files: Mapping[str, Content]) -> None:
        for path, file in files.items():
            self.write(path, file.content, mode=file.mode, uid=file.uid)

    def foreground(self, command: Sequence[str], variables: Mapping[str, str]) -> int:
        """The program itself, as a test put it on the PATH."""
        return processes.foreground(command, variables)

    def entry(self) -> Entry:
        return self.came

    def enter_again(self) -> bool:
        if self.lets_in is False:
            raise HostError("the server takes none of the keys")
        return self.lets_in is not None

    def now(self) -> float:
        """The clock of the wall: what was written here is long ago."""
        return time()

    def tick(self) -> int:
        """The time; no two things happen at the same."""
        self.clock += 1
        return self.clock

    @contextmanager
    def lock(self, path: str, holder: str) -> Iterator[None]:
        """`held` may be filled by a test: then another kmuctl has the lock."""
        assert posixpath.dirname(path) in self.nodes, f"no folder for `{path}`"
        if path in self.held:
            raise Busy(f"another kmuctl is at work here: {self.held[path]}", hint="wait")
        self.held[path] = holder
        try:
            yield
        finally:
            del self.held[path]

    def make_folder(self, path: str, *, mode: int, uid: int) -> None:
        with self.mutex:
            self._parents(path)
            assert self.nodes.get(path, Node(None)).content is None, f"`{path}` is a file"
            self.nodes[path] = Node(None, mode, uid)

    def remove(self, path: str) -> None:
        with self.mutex:
            for known in [known for known in self.nodes if known == path or known.startswith(f"{path}/")]:
                del self.nodes[known]

    def snapshot(self) -> dict[str, Any]:
        """Everything that a second run must leave alone; the lock and the journal do not count."""
        return {
            "files": {path: node for path, node in self.nodes.items() if "/state" not in path},
            "containers": {name: item.serial for name, item in self.engine.made.items()},
            "networks": dict(self.engine.subnets),
            "images": sorted(self.engine.images),
            "caddy": self.engine.caddy_loads,
            "databases": dict(self.cluster.found),
            "sent": list(self.http.sent),
            "timers": sorted(self.systemd.active),
            "roles": dict(self.cluster.roles),
        }

    def _parents(self, path: str) -> None:
        while (path := posixpath.dirname(path)) not in self.nodes:
            self.nodes[path] = Node(None)
        assert self.nodes[path].content is None, f"`{path}` is a file"
