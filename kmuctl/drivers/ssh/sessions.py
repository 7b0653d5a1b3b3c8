"""Sessions opened ahead, so that a command waits for one answer of the server, not for two."""

from __future__ import annotations

import queue
from contextlib import suppress
from threading import Semaphore, Thread
from time import sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko import Channel, Transport

MOST = 9
"""sshd takes ten on a connection (MaxSessions)."""
READY = 3
PATIENCE = 30
"""Seconds for a free one: a server may take fewer, and commands of ours may hold all."""


class Sessions:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._seats = Semaphore(MOST)
        self._ready: queue.SimpleQueue[Channel | None] = queue.SimpleQueue()
        """None: the connection is broken."""
        for _ in range(READY):
            self._prepare()

    def take(self) -> Channel | None:
        """One on which nothing runs yet; None when the connection is broken. Raises queue.Empty when there is none."""
        while (channel := self._ready.get(timeout=PATIENCE)) is not None:
            self._prepare()
            if not channel.closed:
                return channel
            self._seats.release()
        self._ready.put(None)
        return None

    def give_back(self, channel: Channel) -> None:
        with suppress(OSError, EOFError):  # over a broken connection: paramiko raises either
            channel.close()
        self._seats.release()

    def _prepare(self) -> None:
        Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        from paramiko import SSHException

        self._seats.acquire()
        while True:
            try:
                self._ready.put(self._transport.open_session())
            except (SSHException, EOFError, OSError):
                if self._transport.is_active():
                    sleep(0.1)
                    continue
                self._ready.put(None)
                self._seats.release()
            return
