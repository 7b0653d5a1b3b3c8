"""Which certificates the containers show, and the program that has nothing else to say: coturn."""

from __future__ import annotations

import copy
import posixpath
from typing import TYPE_CHECKING

from kmuctl.model.errors import HostError
from kmuctl.model.host import Answer, Door
from kmuctl.operations.certificates import serial
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

SELF_SIGNED = 1


class FakeCoturn:
    """Reads its file when it starts; without one it has no port for TLS until the next start."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.path = ""
        self.shown: int | None = None
        self.deaf = False
        """It takes signals for nothing."""

    def clone(self, host: FakeHost) -> FakeCoturn:
        twin = copy.copy(self)
        twin.host = host
        return twin

    def start(self, folder: str) -> None:
        self.path = posixpath.normpath(f"{folder}/../data/coturn/certs/turn.pem")
        content = self.host.read(self.path)
        self.shown = serial(content) if content else None

    def signal(self, name: str) -> None:
        if name != "SIGUSR2":
            raise Untaught(f"{name} to coturn")
        if self.shown is not None and not self.deaf:
            self.shown = serial(self.host.read(self.path) or b"")

    def serial(self, door: Door) -> int:
        if self.shown is None or (door.port, door.starttls) != (5349, ""):
            raise HostError(f"`coturn` speaks no TLS on port {door.port}: connection refused")
        return self.shown

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask coturn: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"execute coturn: {' '.join(command)}")


class FakeTls:
    def __init__(self, host: FakeHost) -> None:
        self.host = host

    def serial(self, door: Door) -> int:
        made = self.host.engine.made.get(door.container)
        if made is None or made.stopped:
            raise HostError(f"`{door.container}` speaks no TLS on port {door.port}: it is not running")
        match door.container:
            case "coturn":
                return self.host.http.coturn.serial(door)
            case "stalwart":
                return self.host.http.stalwart.serial(door)
        raise Untaught(f"TLS with {door.container}")
