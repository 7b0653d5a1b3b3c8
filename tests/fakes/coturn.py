"""coturn in memory: its TLS port is there when it had a certificate at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmuctl.model.host import Answer
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost


class FakeCoturn:
    def __init__(self, host: FakeHost) -> None:
        self.host = host

    def start(self, folder: str) -> None:
        """It reads its files when asked."""

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        if command != ("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/5349"):
            raise Untaught(f"ask coturn: {' '.join(command)}")
        started = self.host.engine.made["coturn"].started
        files = self.host.facts(f"/opt/kmu/data/coturn/certs/turn.{kind}" for kind in ("crt", "key"))
        present = [fact for fact in files.values() if fact.written < started]
        return Answer(0, "") if len(present) == 2 else Answer(1, "", "connect: Connection refused\n")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"execute coturn: {' '.join(command)}")
