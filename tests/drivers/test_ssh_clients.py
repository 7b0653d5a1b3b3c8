"""Clients that know nothing of SSH, over the link: HTTP, TLS, PostgreSQL, the Docker SDK; and how often each waits."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmuctl.drivers import http
from kmuctl.drivers.http import HttpClient
from kmuctl.drivers.postgres import PostgresCluster
from kmuctl.drivers.ssh.host import SshHost
from kmuctl.drivers.tls import TlsClient
from kmuctl.model.errors import HostError, LinkLost
from kmuctl.model.host import Call, Door, Reply
from kmuctl.operations.certificates import serial
from tests.drivers.sshd import Answers, Sshd, sshd
from tests.drivers.test_host_contract import Text
from tests.drivers.test_http import HANG_UP, Server, call, server
from tests.drivers.test_ssh import cut, may, own, reachable, user
from tests.drivers.test_tls import MAIL, Keyring, listening, tables  # type: ignore[attr-defined]

pytestmark = pytest.mark.tool
web = server
"""An HTTP server on loopback, which the link leads to."""
__all__ = ["own", "reachable", "user"]  # fixtures


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def host(machine: Sshd) -> Iterator[SshHost]:
    connected = machine.host()
    yield connected
    connected.close()


@pytest.fixture
def client(host: SshHost) -> Iterator[HttpClient]:
    made = HttpClient(lambda container, port, recent=False: host.place("127.0.0.1", port, ready=not recent))
    yield made
    made.close()


def test_http(client: HttpClient, web: Server) -> None:
    assert client.ask(call(web)) == Reply(200, "{}")
    assert client.send(call(web, "POST")) == Reply(200, "{}")
    assert web.seen == [("GET", "Bearer t0ken"), ("POST", "Bearer t0ken")]


def test_a_change_that_arrived_is_not_sent_again(client: HttpClient, web: Server) -> None:
    """The rules are those of this machine: what may have been done is not done twice ..."""
    web.codes = [HANG_UP]
    with pytest.raises(HostError, match="`x` does not answer"):
        client.send(call(web, "POST"))
    assert len(web.seen) == 1


def test_a_change_that_reached_nobody_is_sent_again(
    host: SshHost, web: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... and a refused connection carried nothing."""
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0))
    addresses = iter(["127.0.0.2", "127.0.0.2", "127.0.0.1"])
    over = HttpClient(lambda container, port, recent=False: host.place(next(addresses), port))
    assert over.send(call(web, "POST")).status == 200
    assert len(web.seen) == 1


def test_nobody_there(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAUSES", (0.0,))
    with pytest.raises(HostError, match="`x` does not answer on port 9: no connection to "):
        client.ask(Call(container="x", port=9, path="/"))


@pytest.mark.parametrize(("implicit", "starttls"), [(True, ""), (False, "smtp")])
def test_tls(host: SshHost, tmp_path: Path, implicit: bool, starttls: str) -> None:
    keyring = Keyring()
    keyring.load(tables(tmp_path, MAIL))
    over = TlsClient(lambda container, port, recent=False: host.place("127.0.0.1", port))
    with listening(keyring, implicit=implicit) as port:
        found = over.serial(Door("stalwart", port, "mail.acme.example", starttls))  # type: ignore[arg-type]
    assert found == serial(MAIL.certificate)


REFUSAL = b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"


@contextmanager
def postgres() -> Iterator[int]:
    """As much of one as says no to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"E" + (len(REFUSAL) + 4).to_bytes(4, "big") + REFUSAL)

        thread = threading.Thread(target=refuse)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


def test_postgresql(host: SshHost) -> None:
    """Its client is told a folder and a port, and finds the socket by itself."""
    with postgres() as port:
        cluster = PostgresCluster(lambda container, _, recent=False: host.place("127.0.0.1", port))
        assert cluster.accepts("synapse", "wrong") is False


def test_postgresql_that_is_not_there(host: SshHost) -> None:
    cluster = PostgresCluster(lambda container, _, recent=False: host.place("127.0.0.1", 9))
    with pytest.raises(HostError, match="cannot talk to PostgreSQL"):
        cluster.accepts("synapse", "wrong")


def test_forwarding_that_the_server_forbids(tmp_path: Path) -> None:
    """Told as what it is, not as a service that is down."""
    with sshd(tmp_path, "AllowTcpForwarding no\n") as strict:
        connected = strict.host()
        with pytest.raises(HostError, match="forbids to forward connections") as caught:
            connected.place("127.0.0.1", 9)
        connected.close()
    assert "AllowTcpForwarding" in caught.value.hint


def test_nothing_is_left(machine: Sshd, web: Server) -> None:
    """Sockets, their folder and their threads."""
    before = {*threading.enumerate()}
    connected = machine.host()
    place = connected.place("127.0.0.1", web.server_port)
    assert place.file is not None
    folder = place.file.parents[1]
    assert folder.stat().st_mode & 0o777 == 0o700
    connected.place("127.0.0.1", web.server_port)
    connected.close()
    assert not folder.exists()
    new = {*threading.enumerate()} - before
    for thread in new:
        thread.join(5)
    assert not [thread for thread in new if thread.is_alive()]


# the engine


@pytest.fixture
def engine() -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker engine: `tests/lab/lab engine` makes one")


@pytest.mark.usefixtures("engine")
def test_the_engine(host: SshHost) -> None:
    """The SDK as it is, over `docker system dial-stdio` on the server."""
    here = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=True
    )
    assert host.engine.version() == here.stdout.strip()
    assert host.engine.image("no/such:image") is None
    assert "bridge" in host.engine.networks()
    assert host.engine.containers("no-such-project") == {}


@pytest.mark.usefixtures("engine")
def test_the_engine_through_sudo(reachable: Sshd, user: str) -> None:
    """The password goes first on the stream, and is none of the engine's."""
    may("ALL")
    people = Answers(secrets={"sudo": "old wine"})
    connected = reachable.host(people, user=user)
    assert "bridge" in connected.engine.networks()
    assert connected.engine.image("no/such:image") is None
    connected.close()
    assert len(people.asked) == 1


@pytest.mark.usefixtures("engine")
def test_many_questions_to_the_engine_at_once(host: SshHost) -> None:
    """They share a few sessions, whatever they ask for."""
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: names.append(str(host.engine.image(f"no/such:{n}")))) for n in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["None"] * 30


@pytest.mark.usefixtures("engine")
def test_an_engine_behind_a_broken_link(machine: Sshd, host: SshHost) -> None:
    host.engine.version()
    cut(machine)
    with pytest.raises(LinkLost, match="broke at a request to the Docker engine"):
        host.engine.version()


def test_an_engine_that_is_not_there(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmuctl.drivers.ssh.host.ENGINE", ("false",))
    with pytest.raises(HostError, match="the Docker engine does not answer") as caught:
        host.engine.version()
    assert "systemctl start docker" in caught.value.hint


# round trips


def test_how_often_each_verb_waits(host: SshHost, client: HttpClient, tmp_path: Path, web: Server) -> None:
    """Once, however many paths or files: the sessions were opened before."""
    many = {f"{tmp_path}/folder/{number}": Text(b"x" * 1000, 0o644, 0) for number in range(200)}
    verbs: dict[str, tuple[int, Callable[[], object]]] = {
        "run": (1, lambda: host.run(("true",))),
        "write_all": (1, lambda: host.write_all(many)),
        "write": (1, lambda: host.write(f"{tmp_path}/file", b"x")),
        "facts": (1, lambda: host.facts(many)),
        "tree": (1, lambda: host.tree(str(tmp_path))),
        "read": (1, lambda: host.read(f"{tmp_path}/file")),
        "make_folder": (1, lambda: host.make_folder(f"{tmp_path}/made", mode=0o755, uid=0)),
        "remove": (1, lambda: host.remove(f"{tmp_path}/made")),
        "entry": (0, host.entry),
        "now": (0, host.now),
        "http": (2, lambda: client.send(call(web))),
    }
    assert {name: counted(host, verb) for name, (_, verb) in verbs.items()} == {
        name: expected for name, (expected, _) in verbs.items()
    }


def test_questions_use_a_connection_that_is_open_still(host: SshHost, client: HttpClient, web: Server) -> None:
    """Changes do not: nobody knows what became of one that was sent into a closing connection."""
    assert [counted(host, lambda: client.ask(call(web))) for _ in range(3)] == [2, 1, 1]
    assert counted(host, lambda: client.send(call(web, "POST"))) == 2


@pytest.mark.usefixtures("engine")
def test_how_often_the_engine_is_waited_for(host: SshHost) -> None:
    """Once connected, one answer for each question of the SDK."""
    host.engine.version()
    assert counted(host, host.engine.version) == 1
    assert counted(host, lambda: host.engine.image("no/such:image")) == 1
    assert counted(host, lambda: host.engine.address("no-such-project", "x")) == 2


def counted(host: SshHost, verb: Callable[[], object]) -> int:
    before = host.link.requests
    verb()
    return host.link.requests - before
