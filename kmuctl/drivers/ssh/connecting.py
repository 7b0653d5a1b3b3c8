"""From an address to a connection on which we are signed in, through other servers where it has to be."""

from __future__ import annotations

import logging
import socket
import subprocess
from collections.abc import Container
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kmuctl.drivers.ssh.keys import Memory, sign_in
from kmuctl.drivers.ssh.known_hosts import KnownHosts
from kmuctl.drivers.ssh.people import People
from kmuctl.drivers.ssh.settings import Settings, settings_of
from kmuctl.model.errors import Unreachable

if TYPE_CHECKING:
    from paramiko import Transport

SILENCE_SECONDS = 30
"""A connection on which nothing is confirmed for so long is given up."""
KEEPALIVE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Way:
    """Something like a socket that leads to an sshd, and the program that made it (ProxyCommand)."""

    socket: Any
    program: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        self.socket.close()
        if self.program:
            with self.program as running:
                running.kill()


@dataclass(frozen=True, slots=True)
class Connection:
    transport: Transport
    way: Way
    before: Connection | None
    """The connection that this one goes through."""

    def close(self) -> None:
        self.transport.close()
        self.way.close()
        if self.before:
            self.before.close()


def connect(settings: Settings, people: People, memory: Memory, vouched: Container[bytes] = ()) -> Connection:
    """Raises HostError in plain words. `vouched` are keys of the server that a connection to it has shown us."""
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it would write tracebacks to the terminal
    before: Connection | None = None
    try:
        for hop in hops(settings):
            before = _through(before, hop, people, memory)
        return _through(before, settings, people, memory, vouched)
    except BaseException:
        if before:
            before.close()
        raise


def hops(settings: Settings, behind: tuple[str, ...] = ()) -> list[Settings]:
    """The servers on the way, the nearest first: the first of them may itself be behind others.

    One that is behind itself (`Host *` with a ProxyJump) is reached directly.
    """
    found = [settings_of(address) for address in settings.jumps]
    behind = (*behind, settings.name)
    if not found or found[0].name in behind:
        return []
    return [*hops(found[0], behind), *found]


def _through(
    before: Connection | None, settings: Settings, people: People, memory: Memory, vouched: Container[bytes] = ()
) -> Connection:
    from paramiko import SSHException

    from kmuctl.drivers.ssh.carrier import Carrier

    try:
        with ExitStack() as undo:
            way = _way(before, settings)
            undo.callback(way.close)
            transport = Carrier(way.socket)
            undo.callback(transport.close)
            _meet(transport, settings, people, vouched)
            sign_in(transport, settings, people, memory)
            transport.set_keepalive(KEEPALIVE_SECONDS)
            undo.pop_all()
            return Connection(transport, way, before)
    except (SSHException, EOFError, OSError) as error:
        raise _refused(settings, error) from None


def _way(before: Connection | None, settings: Settings) -> Way:
    from paramiko import ChannelException

    if before:
        try:
            place = (settings.host, settings.port)
            return Way(before.transport.open_channel("direct-tcpip", place, ("127.0.0.1", 0)))
        except ChannelException as error:
            raise Unreachable(f"{settings.place} cannot be reached through the jump host: {error.text}") from None
    return _by_program(settings) if settings.command else Way(_by_network(settings))


def _by_program(settings: Settings) -> Way:
    """Its input and output are the connection; a shell reads the command, as with OpenSSH."""
    ours, its = socket.socketpair()
    with its:
        return Way(
            ours, subprocess.Popen(["sh", "-c", f"exec {settings.command}"], stdin=its.fileno(), stdout=its.fileno())
        )


def _by_network(settings: Settings) -> socket.socket:
    made = socket.create_connection((settings.host, settings.port), settings.seconds)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)
    return made


def _meet(transport: Transport, settings: Settings, people: People, vouched: Container[bytes]) -> None:
    """Agree on how to speak, and see whether it is the right server."""
    known = KnownHosts(settings, vouched)
    options = transport.get_security_options()
    first = [kind for kind in known.kinds() if kind in options.key_types]
    options.key_types = (*first, *(kind for kind in options.key_types if kind not in first))
    transport.banner_timeout = transport.handshake_timeout = settings.seconds
    transport.start_client(timeout=settings.seconds)
    known.check(transport.get_remote_server_key(), people)


def _refused(settings: Settings, error: Exception) -> Unreachable:
    """Why there is no connection, and what to look at."""
    server = f"{settings.host}, port {settings.port}"
    match error:
        case socket.gaierror():
            return Unreachable(
                f"nobody knows the name `{settings.host}`", hint="check the address, or DNS on this side"
            )
        case ConnectionRefusedError():
            hint = "is the server up, is sshd running there, and on this port?"
            return Unreachable(f"{server}: the connection is refused", hint=hint)
        case TimeoutError():
            hint = "is the server up, and does the provider's firewall let this port through?"
            return Unreachable(f"{server}: no answer within {settings.seconds} s", hint=hint)
        case OSError():
            return Unreachable(f"{server}: {error.strerror or error}", hint="check the address, and the network here")
    reason = str(error) or "it hung up"
    return Unreachable(
        f"{server}: no SSH connection: {reason}", hint=f"`ssh -v -p {settings.port} {settings.host}` says more"
    )
