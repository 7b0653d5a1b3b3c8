"""Socket files on this machine, each leading to one place on the server: clients of any kind need not know of SSH."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypeAlias

from kmuctl.model.errors import KmuError

if TYPE_CHECKING:
    from paramiko import Channel

Open: TypeAlias = Callable[[], AbstractContextManager["Channel"]]
PIECE = 2**16
LONGEST = 60
"""Of the folder's name: a socket's may have 107 bytes."""


class Sockets:
    """Files and folder are there from the first use to `close`, for this user alone."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count
        self._relays: dict[str, Relay] = {}
        self._mutex = Lock()
        self._folder: Path | None = None

    def relay(self, name: str, opened: Open) -> Relay:
        """Makes it when it is not there; `name` is the file's, below our folder."""
        with self._mutex:
            if name not in self._relays:
                self._folder = self._folder or _private_folder()
                path = self._folder / name
                path.parent.mkdir(exist_ok=True)
                self._relays[name] = Relay(path, opened, self._count)
            return self._relays[name]

    def close(self) -> None:
        with self._mutex:
            for relay in self._relays.values():
                relay.close()
            self._relays.clear()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None


def _private_folder() -> Path:
    known = os.environ.get("XDG_RUNTIME_DIR", "") or tempfile.gettempdir()
    place = known if len(known) <= LONGEST and Path(known).is_dir() else "/tmp"  # noqa: S108 (mkdtemp: 0700)
    return Path(tempfile.mkdtemp(prefix="kmuctl-", dir=place))


class Relay:
    """Each connection to the socket gets a channel of its own."""

    def __init__(self, path: Path, opened: Open, count: Callable[[], None]) -> None:
        self.path = path
        self._opened = opened
        self._count = count
        self._parked: queue.SimpleQueue[tuple[Channel, ExitStack]] = queue.SimpleQueue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    def prepare(self) -> None:
        """Open the channel of the next connection now, so that it is known whether there will be one."""
        self._parked.put(self._channel())

    def close(self) -> None:
        with suppress(OSError, EOFError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with suppress(queue.Empty):
            while True:
                self._parked.get_nowait()[1].close()

    def _channel(self) -> tuple[Channel, ExitStack]:
        with ExitStack() as stack:
            channel = stack.enter_context(self._opened())
            return channel, stack.pop_all()

    def _accept(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Whoever finds no channel is hung up on, and sees that as a broken connection."""
        with client, suppress(OSError, EOFError, KmuError):
            try:
                channel, stack = self._parked.get_nowait()
            except queue.Empty:
                channel, stack = self._channel()
            with stack:
                back = Thread(target=_bring_back, args=(channel, client), daemon=True)
                back.start()
                self._send_on(client, channel)
                back.join()

    def _send_on(self, client: socket.socket, channel: Channel) -> None:
        with suppress(OSError, EOFError):
            while piece := client.recv(PIECE):
                self._count()
                channel.sendall(piece)
        with suppress(OSError, EOFError):
            channel.shutdown_write()


def _bring_back(channel: Channel, client: socket.socket) -> None:
    with suppress(OSError, EOFError):
        while piece := channel.recv(PIECE):
            client.sendall(piece)
    with suppress(OSError, EOFError):
        client.shutdown(socket.SHUT_RDWR)
