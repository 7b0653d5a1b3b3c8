"""The real coturn relays for whom it should, to where it may, and for nobody and nowhere else."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import time

import pytest

from tests.lab.stack import HERE, PUBLIC, LabSite, address, containers, docker, eventually, health, ids, name_of, run
from tests.lab.turn_client import Refused, TurnClient, answers, binding, credential

pytestmark = pytest.mark.lab

SERVER = (HERE, 3478)
PEER = "192.0.3.1"
"""Looks public to coturn; for this test it is an address of this machine."""


@pytest.fixture
def peer() -> Iterator[tuple[str, int]]:
    """Somebody out there who sends everything back."""
    with alias(PEER), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((PEER, 0))
        Thread(target=_echo, args=(server,), daemon=True).start()
        yield server.getsockname()
        server.sendto(b"", server.getsockname())


@contextmanager
def alias(address: str) -> Iterator[None]:
    """This machine has the address, and nothing sent there leaves it."""
    added = run("ip", "address", "add", f"{address}/32", "dev", "lo").returncode == 0
    try:
        yield
    finally:
        if added:
            run("ip", "address", "del", f"{address}/32", "dev", "lo")


def _echo(server: socket.socket) -> None:
    while True:
        data, sender = server.recvfrom(2048)
        if not data:
            return
        server.sendto(data, sender)


def client(site: LabSite, *, seconds: int = 600, secret: str = "", tcp: bool = False) -> TurnClient:
    return TurnClient(SERVER, *credential(secret or site.secrets()["turn_secret"], int(time()) + seconds), tcp=tcp)


@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
def test_a_call_is_relayed_with_a_credential_of_limited_time(site: LabSite, peer: tuple[str, int], tcp: bool) -> None:
    """K11, K79: made from the shared secret, as Synapse and Jitsi make it; data reaches the peer and comes back."""
    with client(site, tcp=tcp) as turn:
        turn.allocate()
        turn.permit(peer[0])
        assert turn.relay(peer, b"hello") == b"hello"


@pytest.mark.parametrize(("seconds", "secret"), [(600, "guessed"), (-60, "")], ids=["wrong", "expired"])
def test_other_credentials_are_refused(site: LabSite, seconds: int, secret: str) -> None:
    """K11: a wrong secret or a time that has passed opens nothing."""
    with client(site, seconds=seconds, secret=secret) as turn, pytest.raises(Refused) as refused:
        turn.allocate()
    assert refused.value.code == 401


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.231.112.2",
        "10.231.118.1",
        "172.17.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
    ],
)
def test_the_relay_is_no_way_into_private_networks(site: LabSite, address: str) -> None:
    """K11, K79: neither this machine, nor the containers, nor the office, nor a cloud's metadata."""
    with client(site) as turn:
        turn.allocate()
        with pytest.raises(Refused) as refused:
            turn.permit(address)
    assert refused.value.code == 403


def test_a_relayed_packet_without_permission_is_dropped(site: LabSite, peer: tuple[str, int]) -> None:
    """K11."""
    with client(site) as turn:
        turn.allocate()
        turn._socket.settimeout(1)
        with pytest.raises(TimeoutError):
            turn.relay(peer, b"hello")


def test_callers_are_told_the_public_address(site: LabSite) -> None:
    """K11, K114: coturn itself has another one, which is of use to nobody; theirs leads to it from outside."""
    with client(site) as turn, alias(PUBLIC), alias(PEER), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        turn.allocate()
        assert (turn.relayed[0], address("coturn")) == (PUBLIC, site.stack.address("turn", 10))
        turn.permit(PEER)
        caller.bind((PEER, 0))
        caller.sendto(b"hello", turn.relayed)
        assert turn.receive() == b"hello"


def test_two_people_behind_the_same_relay_reach_each_other(site: LabSite) -> None:
    """K11, K79: each knows of the other what the relay told: its public address."""
    with client(site) as one, client(site) as other:
        for turn in (one, other):
            turn.allocate()
            turn.permit(PUBLIC)
        one.send(other.relayed, b"hello")
        assert other.receive() == b"hello"


def test_the_bridge_is_reached_through_the_relay(site: LabSite) -> None:
    """K10, K79: at one of the addresses that it tells, by people whose firewall lets no other way; and without it."""
    environment = dict(entry.split("=", 1) for entry in containers()["jitsi-jvb"]["Config"]["Env"])
    [public, inside] = environment["JVB_ADVERTISE_IPS"].split(",")
    request = binding()
    with client(site, tcp=True) as turn:
        turn.allocate()
        turn.permit(inside)
        assert answers(turn.relay((inside, 10000), request), request)
    assert public == PUBLIC
    with alias(PUBLIC), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(5)
        caller.sendto(request, (public, 10000))
        assert answers(caller.recv(2048), request)


def test_the_realm_is_the_name_that_it_has_everywhere(site: LabSite) -> None:
    """K109."""
    with client(site) as turn:
        turn.allocate()
        assert turn._realm.decode() == site.stack.site.fqdn("turn")


@pytest.fixture
def certificates(site: LabSite) -> Iterator[Callable[[str], None]]:
    """Give coturn the certificate of one of our names; a file that was there comes back."""
    folder = site.folder / "data/coturn/certs"
    found = re.findall(r"^(?:cert|pkey)=/certs/(.+)$", (site.rendered / "coturn/turnserver.conf").read_text(), re.M)
    paths = [folder / name for name in dict.fromkeys(found)]
    before = {path: path.read_bytes() for path in paths if path.exists()}

    def give(name: str) -> None:
        content = b"".join((_certificates(site) / f"{name}/{name}.{kind}").read_bytes() for kind in ("crt", "key"))
        for path in paths:
            _put(path, content)

    yield give
    for path in paths:
        _put(path, before[path]) if path in before else path.unlink(missing_ok=True)
    restart(site)
    eventually(lambda: health("coturn") == "healthy", within=60, what="coturn as it was")


def restart(site: LabSite) -> None:
    """coturn gives people relays again. In the lab it does not end by itself: nobody waits for that."""
    docker("restart", "--time", "0", name_of("coturn"))
    eventually(lambda: _gives_relays(site), within=60, what="coturn is back")


def _gives_relays(site: LabSite) -> bool:
    try:
        with client(site) as turn:
            turn.allocate()
    except OSError:
        return False
    return True


def _certificates(site: LabSite) -> Path:
    return site.folder / "data/caddy/data/caddy/certificates/local"


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    os.chown(path, 65534, 65534)


def over_tls(site: LabSite, name: str) -> TurnClient:
    user, password = credential(site.secrets()["turn_secret"], int(time()) + 600)
    return TurnClient((HERE, 5349), user, password, tls=(site.trust(), name))


def test_a_call_is_relayed_over_tls(
    site: LabSite, peer: tuple[str, int], certificates: Callable[[str], None]
) -> None:  # fmt: skip
    """K11, K79: for people whose firewall lets nothing else through; a renewed certificate needs no new start."""
    name, other = site.stack.site.fqdn("turn"), site.stack.site.fqdn("meet")
    certificates(name)
    restart(site)
    with over_tls(site, name) as turn:
        turn.allocate()
        turn.permit(peer[0])
        assert turn.relay(peer, b"hello") == b"hello"
    before = ids()["coturn"]
    certificates(other)
    docker("kill", "--signal", "USR2", name_of("coturn"))
    eventually(lambda: _shows(site, other), within=10, what="the new certificate")
    assert ids()["coturn"] == before


def _shows(site: LabSite, name: str) -> bool:
    try:
        with over_tls(site, name) as turn:
            turn.allocate()
    except ssl.SSLCertVerificationError:
        return False
    return True


def test_without_a_certificate_the_rest_works(site: LabSite, certificates: Callable[[str], None]) -> None:
    """K79: in the first minutes, and where the certificates are somebody else's."""
    for path in (site.folder / "data/coturn/certs").iterdir():
        path.unlink()
    restart(site)
    with pytest.raises(OSError, match=r"refused|EOF|reset"), over_tls(site, site.stack.site.fqdn("turn")):
        pass
