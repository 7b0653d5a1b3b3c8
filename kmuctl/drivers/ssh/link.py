"""One connection, many channels: commands and tunnels, and what is certain when it breaks."""

from __future__ import annotations

import queue
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

from kmuctl.drivers.ssh.connecting import connect
from kmuctl.drivers.ssh.keys import Memory
from kmuctl.drivers.ssh.people import People
from kmuctl.drivers.ssh.sessions import Sessions
from kmuctl.drivers.ssh.settings import Settings
from kmuctl.model.errors import HostError, LinkLost

if TYPE_CHECKING:
    from paramiko import Channel

PIECE = 2**16
PROHIBITED = 1
"""SSH_OPEN_ADMINISTRATIVELY_PROHIBITED."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, in bytes; -1 is the code of one that a signal ended."""

    code: int
    out: bytes
    err: bytes


class Link:
    def __init__(
        self, settings: Settings, people: People, memory: Memory | None = None, vouched: Container[bytes] = ()
    ) -> None:
        self.settings = settings
        self.memory = memory or Memory()
        self.requests = 0
        """How often somebody waited for the server's answer."""
        self.began = time()
        """By our own clock, before the server was asked for anything."""
        self._connection = connect(settings, people, self.memory, vouched)
        self._transport = self._connection.transport
        self._sessions = Sessions(self._transport)
        self._mutex = Lock()

    @property
    def broken(self) -> bool:
        return not self._transport.is_active()

    def breaks(self) -> bool:
        """Whether it is broken, or just now breaks: whoever uses it may notice a moment before."""
        end = monotonic() + 0.2
        while not self.broken and monotonic() < end:
            sleep(0.01)
        return self.broken

    def lost(self, what: str, *, begun: bool) -> LinkLost:
        return LinkLost(str(self.settings), what, begun=begun)

    def close(self) -> None:
        self._connection.close()

    def count(self) -> None:
        with self._mutex:
            self.requests += 1

    def execute(self, command: str, stdin: bytes, what: str) -> Said:
        """Run one command to its end. `what` it does is said when the link breaks."""
        with self.session(command, what) as channel:
            said = _converse(channel, stdin)
        if said.code == -1 and self.breaks():
            raise self.lost(what, begun=True)
        return said

    @contextmanager
    def session(self, command: str, what: str, *, terminal: tuple[str, int, int] | None = None) -> Iterator[Channel]:
        """A channel on which the command runs; with a `terminal` of this kind and size."""
        channel = self._session(what)
        try:
            self._start(channel, command, what, terminal)
            yield channel
        finally:
            self._sessions.give_back(channel)

    def _start(self, channel: Channel, command: str, what: str, terminal: tuple[str, int, int] | None) -> None:
        from paramiko import SSHException

        try:
            if terminal:
                kind, width, height = terminal
                channel.get_pty(kind, width, height)
            self.count()
            channel.exec_command(command)
        except (SSHException, EOFError, OSError) as error:
            if self.breaks():
                raise self.lost(what, begun=True) from None
            raise HostError(f"{self.settings} does not run commands: {error}") from None

    def _session(self, what: str) -> Channel:
        try:
            channel = self._sessions.take()
        except queue.Empty:
            hint = "does sshd there have a low MaxSessions? kmuctl works with its default of 10"
            raise HostError(f"{self.settings} opens no further session", hint=hint) from None
        if channel is None or self.broken:
            raise self.lost(what, begun=False)
        return channel

    def tunnel(self, address: str, port: int) -> Channel:
        """To a port that the server reaches. Raises ConnectionRefusedError when nobody listens there."""
        from paramiko import SSHException

        for attempt in ("first", "second"):
            self.count()
            try:
                return self._transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0))
            except (SSHException, EOFError, OSError) as error:
                if self.breaks():
                    raise self.lost(f"a connection to {address}:{port}", begun=False) from None
                # of two that fail at once one may have been told the other's reason
                if attempt == "second":
                    raise self._refused(address, port, error) from None
        raise AssertionError("the second attempt returns or raises")

    def _refused(self, address: str, port: int, error: Exception) -> Exception:
        from paramiko import ChannelException

        if isinstance(error, ChannelException) and error.code == PROHIBITED:
            hint = "`AllowTcpForwarding yes` (or `local`) in its sshd_config: kmuctl talks to the containers that way"
            return HostError(f"{self.settings} forbids to forward connections", hint=hint)
        return ConnectionRefusedError(f"no connection to {address}:{port}: {error}")


def _converse(channel: Channel, stdin: bytes) -> Said:
    errors: list[bytes] = []
    threads = [Thread(target=lambda: errors.extend(_pieces(channel, of_errors=True)), daemon=True)]
    threads.append(Thread(target=_feed, args=(channel, stdin), daemon=True))
    for thread in threads:
        thread.start()
    out = b"".join(_pieces(channel))
    for thread in threads:
        thread.join()
    return Said(channel.recv_exit_status(), out, b"".join(errors))


def _pieces(channel: Channel, *, of_errors: bool = False) -> Iterator[bytes]:
    receive = channel.recv_stderr if of_errors else channel.recv
    while piece := receive(PIECE):
        yield piece


def _feed(channel: Channel, stdin: bytes) -> None:
    """A command that ends before it has read everything is no error of ours."""
    with suppress(OSError, EOFError):
        channel.sendall(stdin)
        channel.shutdown_write()
