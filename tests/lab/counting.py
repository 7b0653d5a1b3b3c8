"""This machine as kmuctl sees it, with everything counted that could change something inside a service."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from kmuctl.drivers.engine import DockerEngine
from kmuctl.drivers.http import HttpClient
from kmuctl.drivers.local import LocalHost
from kmuctl.model.host import Answer, Call, Reply


class CountingHttp(HttpClient):
    def __init__(self, host: CountingHost) -> None:
        super().__init__(host.engine.address)
        self._changes = host.changes

    def send(self, call: Call) -> Reply:
        self._changes.append(f"{call.method} {call.container}{call.path}")
        return super().send(call)


class CountingEngine(DockerEngine):
    def __init__(self, changes: list[str]) -> None:
        self._changes = changes

    def execute(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        self._changes.append(f"{container}: {' '.join(command)}")
        return super().execute(project, container, command, stdin)

    def ask(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        return super().execute(project, container, command, stdin)


class CountingHost(LocalHost):
    def __init__(self) -> None:
        self.changes: list[str] = []

    @cached_property
    def engine(self) -> DockerEngine:
        return CountingEngine(self.changes)

    @cached_property
    def http(self) -> HttpClient:
        return CountingHttp(self)
