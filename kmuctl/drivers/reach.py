"""How a port of a container is got at: no port is published for kmuctl."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """The container's own address; where this machine has no way to it, `file` is a socket that leads there."""

    address: str
    port: int
    file: Path | None = None

    def connect(self, timeout: float) -> socket.socket:
        if self.file is None:
            return socket.create_connection((self.address, self.port), timeout)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(timeout)
        try:
            made.connect(str(self.file))
        except OSError:
            made.close()
            raise
        return made


class Reach(Protocol):
    def __call__(self, container: str, port: int, *, recent: bool = False) -> Place | None:
        """A place for one connection; None when the container is not running.

        With `recent` one that was known a moment ago will do, also for connections that are open still. Raises
        ConnectionError when it is known already that nobody listens there.
        """
