"""The real coturn relays for whom it should, to where it may, and for nobody and nowhere else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Thread
from time import time

import pytest

from tests.lab.stack import HERE, LabSite, run
from tests.lab.turn_client import Refused, TurnClient, credential

pytestmark = pytest.mark.lab

SERVER = (HERE, 3478)
PEER = "192.0.3.1"
"""Looks public to coturn; for this test it is an address of this machine."""


@pytest.fixture
def peer() -> Iterator[tuple[str, int]]:
    """Somebody out there who sends everything back."""
    added = run("ip", "address", "add", f"{PEER}/32", "dev", "lo").returncode == 0
    try:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
            server.bind((PEER, 0))
            Thread(target=_echo, args=(server,), daemon=True).start()
            yield server.getsockname()
            server.sendto(b"", server.getsockname())
    finally:
        if added:
            run("ip", "address", "del", f"{PEER}/32", "dev", "lo")


def _echo(server: socket.socket) -> None:
    while True:
        data, sender = server.recvfrom(2048)
        if not data:
            return
        server.sendto(data, sender)


def client(site: LabSite, *, seconds: int = 600, secret: str = "") -> TurnClient:
    return TurnClient(SERVER, *credential(secret or site.secrets()["turn_secret"], int(time()) + seconds))


def test_a_call_is_relayed_with_a_credential_of_limited_time(site: LabSite, peer: tuple[str, int]) -> None:
    """K11, K79: made from the shared secret, as Synapse and Jitsi make it; data reaches the peer and comes back."""
    with client(site) as turn:
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
    """K11, K79: neither this machine, nor the containers, nor the office, nor a cloud's metadata.

    Its own address is allowed, always: two people behind the same relay must reach each other.
    """
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
