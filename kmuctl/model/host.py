"""A machine, as a few verbs. Looking is a Reader's, changing a Host's, so the types prove what a plan may do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from kmuctl.model.errors import HostError
from kmuctl.model.secrets import Secret


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said. A program that does not exist answers with code 127."""

    code: int
    stdout: str
    stderr: str = ""

    @property
    def reason(self) -> str:
        """Why it failed: the last line of what it complained."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else f"it ended with code {self.code} and said nothing"


@dataclass(frozen=True, slots=True)
class Fact:
    """One path: `digest` is the SHA-256 of a file's content, empty for a folder."""

    digest: str
    mode: int
    uid: int
    folder: bool = False
    written: float = 0.0
    """When its content changed last, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFact:
    """One container of the project as the engine sees it."""

    state: str
    """created, running, paused, restarting, removing, exited or dead."""
    health: str
    """healthy, unhealthy, starting, or "" without a health check."""
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    image_id: str = ""
    restarts: int = 0
    exit_code: int = 0
    started: float = 0.0
    """In seconds since 1970."""
    last_check: str = ""
    """What the last failed health check printed."""

    @property
    def serving(self) -> bool:
        return self.state == "running" and self.health in ("healthy", "")


@dataclass(frozen=True, slots=True)
class DatabaseFact:
    owner: str
    collation: str
    public: bool = False
    """Every role may connect to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An HTTP request to a container of the stack; `body` travels as JSON.

    It signs in with a bearer `token`, or as a `user` with a password.
    """

    container: str
    port: int
    path: str
    method: str = "GET"
    token: Secret | None = None
    user: tuple[str, Secret] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    text: str
    container: str = field(default="", compare=False)
    """Who answers."""

    @property
    def said(self) -> str:
        """The start of the text, for a message."""
        return self.text.strip()[:200] or "nothing"

    def json(self, *keys: str) -> Any:
        """What it holds; an object with these keys, when some are given. Raises HostError when it is something else."""
        with suppress(ValueError):
            found = json.loads(self.text)
            if not keys or (isinstance(found, dict) and found.keys() >= set(keys)):
                return found
        raise HostError(
            f"`{self.container}` answers {self.status} with something unexpected: {self.said}",
            hint=f"`kmuctl logs {self.container}`",
        )


class HttpReader(Protocol):
    def ask(self, call: Call) -> Reply:
        """A request that changes nothing, a POST too where a protocol reads that way; asked again when cut off.

        Raises HostError when nobody answers, after some attempts.
        """


class Http(HttpReader, Protocol):
    def send(self, call: Call) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How we are on the machine now."""

    user: str
    """Who signed in, before any sudo."""
    ssh_port: int | None = None
    """Of the sshd that this session came through; None on the machine's own console, or where no session is."""
    client: str = ""
    """The address that the session comes from, as the machine sees it."""
    session: str = ""
    """What tells this session's connection from all others: the client's address and port, for instance."""
    by_key: bool | None = None
    """Signed in with a key; None when that cannot be seen from here."""
    since: float = 0.0
    """When the session began, by the machine's clock, in seconds since 1970; 0 when that cannot be seen from here."""

    @property
    def console(self) -> bool:
        """The machine's own, or a shell that no sign-in led to."""
        return not self.session


class Content(Protocol):
    """One file to write."""

    @property
    def content(self) -> bytes: ...
    @property
    def mode(self) -> int: ...
    @property
    def uid(self) -> int: ...


StartTls: TypeAlias = Literal["", "smtp"]


@dataclass(frozen=True, slots=True)
class Door:
    """A port of a container behind which TLS is spoken, at once or after a protocol's own STARTTLS."""

    container: str
    port: int
    name: str
    """Which certificate is asked for."""
    starttls: StartTls = ""


class TlsReader(Protocol):
    def serial(self, door: Door) -> int:
        """Of the certificate that is served there, trusted or not.

        Raises HostError when nobody speaks TLS there, after some attempts.
        """


class EngineReader(Protocol):
    """The Docker engine of the host, looked at."""

    def version(self) -> str: ...
    def folder(self) -> str:
        """Where the engine keeps images and containers."""

    def containers(self, project: str, names: Iterable[str] | None = None) -> dict[str, ContainerFact]:
        """The project's containers by Compose service, all or the named ones."""

    def image(self, reference: str) -> dict[str, str] | None:
        """The labels of a local image, `id` among them; None when the engine does not have it."""

    def networks(self) -> dict[str, list[str]]:
        """Subnets by network name."""

    def ports(self, project: str) -> set[tuple[int, str]]:
        """Host ports that the project's own containers hold now."""

    def unnamed_volumes(self, project: str) -> set[str]:
        """What images asked for, of all the project's containers."""

    def logs(self, project: str, container: str, lines: int) -> str: ...
    def ask(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        """Run a command inside a container that only reads."""


class Engine(EngineReader, Protocol):
    def pull(self, reference: str) -> None: ...
    def build(self, reference: str, context: bytes, labels: Mapping[str, str]) -> None: ...
    def restart(self, project: str, container: str) -> None: ...
    def signal(self, project: str, container: str, name: str) -> None:
        """To the container's first process, `SIGUSR2` for instance."""

    def stop(self, project: str, container: str) -> None: ...
    def remove(self, project: str, containers: Iterable[str]) -> None: ...
    def remove_volumes(self, names: Iterable[str]) -> None: ...
    def remove_network(self, name: str) -> None: ...
    def execute(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer: ...


class ClusterReader(Protocol):
    """The PostgreSQL cluster of the stack, looked at as its superuser."""

    def databases(self, password: str) -> dict[str, DatabaseFact]: ...
    def accepts(self, role: str, password: str) -> bool:
        """Whether the role may log in to the database of the same name with this password."""


class Cluster(ClusterReader, Protocol):
    def set_role(self, password: str, role: str, role_password: str) -> None: ...
    def create_database(self, password: str, name: str, collation: str) -> None: ...
    def close_database(self, password: str, name: str) -> None:
        """Nobody but its owner may connect."""


class Reader(Protocol):
    @property
    def at_once(self) -> int:
        """How many may look at it at a time: most of them wait, where the way is long."""

    @property
    def engine(self) -> EngineReader: ...
    @property
    def cluster(self) -> ClusterReader: ...
    @property
    def http(self) -> HttpReader: ...
    @property
    def tls(self) -> TlsReader: ...
    def read(self, path: str) -> bytes | None: ...
    def facts(self, paths: Iterable[str]) -> dict[str, Fact]:
        """Facts of those paths that exist."""

    def tree(self, folder: str) -> list[str]:
        """Paths of all files below a folder, relative to it, sorted."""

    def query(self, command: Sequence[str]) -> Answer:
        """Run a command that only reads."""

    def now(self) -> float:
        """The host's own clock, in seconds since 1970: times of its files are compared with it."""

    def entry(self) -> Entry: ...


class Host(Reader, Protocol):
    @property
    def engine(self) -> Engine: ...
    @property
    def cluster(self) -> Cluster: ...
    @property
    def http(self) -> Http: ...
    def run(self, command: Sequence[str], *, stdin: bytes = b"", folder: str | None = None) -> Answer: ...
    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        """Write beside the old file and rename over it; missing folders are made.

        A file that has this content already only gets its mode and owner.
        """

    def write_all(self, files: Mapping[str, Content]) -> None:
        """Many files by path, each as `write` does it; over a link all travel as one stream."""

    def enter_again(self) -> bool:
        """Sign in once more, over a new connection, as a proof that it is still possible.

        False where the machine cannot do that by itself, because kmuctl runs on it. Raises HostError when refused.
        """

    def foreground(self, command: Sequence[str], variables: Mapping[str, str]) -> int:
        """Run a command with what stands on this terminal; its exit code, as a shell gives it."""

    def lock(self, path: str, holder: str) -> AbstractContextManager[None]:
        """Hold a lock file; it is free again when this process ends, however it ends.

        Raises Busy with what the other one wrote as its `holder`.
        """

    def make_folder(self, path: str, *, mode: int, uid: int) -> None: ...
    def remove(self, path: str) -> None:
        """A folder goes with all that is in it, also when it is a link to one on another disk."""
