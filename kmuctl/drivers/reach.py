"""How a port of a container is got at: no port is published for kmuctl."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


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


Reach: TypeAlias = Callable[[str, int], Place | None]
"""By container and port, for one connection; None when the container is not running.

Raises ConnectionError when it is known already that nobody listens there.
"""
