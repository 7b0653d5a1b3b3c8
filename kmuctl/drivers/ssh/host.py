"""A machine behind an SSH link."""

from __future__ import annotations

import functools
import secrets
import shlex
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Semaphore
from time import monotonic, time
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kmuctl.drivers.engine import DockerEngine
from kmuctl.drivers.http import HttpClient
from kmuctl.drivers.postgres import PostgresCluster
from kmuctl.drivers.reach import Place
from kmuctl.drivers.ssh.files import Files
from kmuctl.drivers.ssh.link import Link
from kmuctl.drivers.ssh.lock import held
from kmuctl.drivers.ssh.people import People
from kmuctl.drivers.ssh.settings import Settings
from kmuctl.drivers.ssh.shell import Shell
from kmuctl.drivers.ssh.sockets import Sockets
from kmuctl.drivers.ssh.terminal import foreground
from kmuctl.drivers.tls import TlsClient
from kmuctl.model.errors import KmuError, LinkLost
from kmuctl.model.host import Answer, Content, Entry, Fact
from kmuctl.model.stack import PROJECT

if TYPE_CHECKING:
    from paramiko import Channel

HOST_KEYS = "/etc/ssh/ssh_host_*_key.pub"
ENGINE = ("docker", "system", "dial-stdio")
QUESTIONS = 4
"""To the engine at a time: each keeps a session of its own, and sshd takes ten."""
RECENT = 3.0
"""Seconds for which a container's address is taken to be still its own, where nothing is changed."""
WITH_VARIABLES = 'set -a; . "$1"; set +a; rm -f -- "$1"; shift; exec "$@"'
Client = TypeVar("Client")


@dataclass(frozen=True, slots=True)
class _Text:
    content: bytes
    mode: int
    uid: int


class SshHost:
    """Connects when it is made. `close` leaves nothing behind, here or there."""

    at_once = 16

    def __init__(self, settings: Settings, people: People) -> None:
        self._people = people
        self.link = Link(settings, people)
        try:
            self._shell = Shell(self.link, people)
        except BaseException:
            self.link.close()
            raise
        self._files = Files(self._shell)
        self._sockets = Sockets(self.link.count)
        self._addresses: dict[str, tuple[str, float]] = {}
        """Of containers, and when they had them."""

    def close(self) -> None:
        if http := self.__dict__.get("http"):
            http.close()
        self._sockets.close()
        self.link.close()

    @cached_property
    def engine(self) -> DockerEngine:
        relay = self._sockets.relay("engine", lambda: self._shell.session(ENGINE))
        engine = DockerEngine(self._shell.answer, f"unix://{relay.path}")
        return self._watched(engine, "a request to the Docker engine", Semaphore(QUESTIONS))

    @cached_property
    def cluster(self) -> PostgresCluster:
        return self._watched(PostgresCluster(self._reach), "a request to PostgreSQL")

    @cached_property
    def http(self) -> HttpClient:
        return self._watched(HttpClient(self._reach), "a request to a service")

    @cached_property
    def tls(self) -> TlsClient:
        return self._watched(TlsClient(self._reach), "a TLS handshake")

    def _reach(self, container: str, port: int, *, recent: bool = False) -> Place | None:
        known, moment = self._addresses.get(container, ("", 0.0))
        if recent and monotonic() - moment < RECENT:
            return self.place(known, port, ready=False)
        address = self.engine.address(PROJECT, container)
        if address is None:
            return None
        self._addresses[container] = address, monotonic()
        return self.place(address, port, ready=not recent)

    def place(self, address: str, port: int, *, ready: bool = True) -> Place:
        """A way to a port that the server reaches; made `ready`, it raises ConnectionRefusedError."""
        # named as PostgreSQL's client wants it: it is told the folder and the port
        relay = self._sockets.relay(f"{address}/.s.PGSQL.{port}", lambda: self._tunnel(address, port))
        if ready:
            relay.prepare()
        return Place(address, port, relay.path)

    @contextmanager
    def _tunnel(self, address: str, port: int) -> Iterator[Channel]:
        with self.link.tunnel(address, port) as channel:
            yield channel

    def _watched(self, client: Client, what: str, turns: Semaphore | None = None) -> Client:
        return cast("Client", _Watched(client, self.link, what, turns or nullcontext()))

    def now(self) -> float:
        return time() + self._shell.ahead

    def entry(self) -> Entry:
        return self._shell.entry

    def enter_again(self) -> bool:
        again = Link(self.link.settings, self._people, self.link.memory, vouched=self._host_keys())
        try:
            return again.execute("true", b"", "`true`").code == 0
        finally:
            again.close()

    def _host_keys(self) -> set[bytes]:
        """The server's own, public halves: after a change of its settings it may show one that nobody here knows yet.

        It is the server that says so, over a connection that we trust; as with OpenSSH's UpdateHostKeys.
        """
        said = self._shell.script(f"cat {HOST_KEYS}", what="looking at the server's keys")
        found: set[bytes] = set()
        for line in said.out.splitlines():
            with suppress(ValueError, IndexError):  # a line that is no key
                found.add(b64decode(line.split()[1]))
        return found

    def read(self, path: str) -> bytes | None:
        return self._files.read(path)

    def facts(self, paths: Iterable[str]) -> dict[str, Fact]:
        return self._files.facts(paths)

    def tree(self, folder: str) -> list[str]:
        return self._files.tree(folder)

    def query(self, command: Sequence[str]) -> Answer:
        return self._shell.answer(command)

    def run(self, command: Sequence[str], *, stdin: bytes = b"", folder: str | None = None) -> Answer:
        return self._shell.answer(command, stdin, folder)

    def foreground(self, command: Sequence[str], variables: Mapping[str, str]) -> int:
        """Values of variables travel in a file that is gone when the command starts: a list of processes shows none."""
        if not variables:
            return foreground(self._shell, command)
        path = f"/run/kmuctl-{secrets.token_hex(8)}.env"
        text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        self.write(path, text.encode(), mode=0o600)
        try:
            return foreground(self._shell, ("sh", "-c", WITH_VARIABLES, "sh", path, *command))
        finally:
            if not self.link.broken:
                self.remove(path)

    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        self.write_all({path: _Text(content, mode, uid)})

    def write_all(self, files: Mapping[str, Content]) -> None:
        self._files.write_all(files)

    def lock(self, path: str, holder: str) -> AbstractContextManager[None]:
        return held(self._shell, path, holder)

    def make_folder(self, path: str, *, mode: int, uid: int) -> None:
        self._files.make_folder(path, mode=mode, uid=uid)

    def remove(self, path: str) -> None:
        self._files.remove(path)


class _Watched:
    """A client that talks through the link. When that breaks, it says so, and not what the client saw of it."""

    def __init__(self, client: object, link: Link, what: str, turns: AbstractContextManager[Any]) -> None:
        self._client, self._link, self._what, self._turns = client, link, what, turns

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        @functools.wraps(method)
        def watched(*arguments: Any, **options: Any) -> Any:
            with self._turns:
                try:
                    return method(*arguments, **options)
                except LinkLost:
                    raise
                except KmuError:
                    if self._link.breaks():
                        raise self._link.lost(self._what, begun=True) from None
                    raise

        return watched
