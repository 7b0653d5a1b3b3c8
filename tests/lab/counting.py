"""This machine as kmuctl sees it, with every call counted that could change something on it or inside a service."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from kmuctl.drivers.engine import DockerEngine
from kmuctl.drivers.http import HttpClient
from kmuctl.drivers.local import LocalHost
from kmuctl.drivers.postgres import PostgresCluster
from kmuctl.model.host import Answer

Class = TypeVar("Class")


def counting(*names: str) -> Callable[[type[Class]], type[Class]]:
    """Methods of these names add themselves, and what they were told, to `changes`."""

    def decorate(cls: type[Class]) -> type[Class]:
        for name in names:
            setattr(cls, name, _counted(getattr(cls, name)))
        return cls

    return decorate


def _counted(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        self.changes.append(f"{method.__name__} {arguments}")
        return method(self, *arguments, **options)

    return counted


@counting("send")
class CountingHttp(HttpClient):
    changes: list[str]


@counting("set_role", "create_database", "close_database")
class CountingCluster(PostgresCluster):
    changes: list[str]


@counting("pull", "build", "restart", "signal", "stop", "remove", "remove_volumes", "remove_network", "execute")
class CountingEngine(DockerEngine):
    changes: list[str]

    def ask(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        return super().execute(project, container, command, stdin)


Part = TypeVar("Part", CountingHttp, CountingCluster, CountingEngine)


@counting("run", "write", "make_folder", "remove")
class CountingHost(LocalHost):
    def __init__(self) -> None:
        self.changes: list[str] = []

    def query(self, command: Sequence[str]) -> Answer:
        return super().run(command)

    @cached_property
    def engine(self) -> DockerEngine:
        return self._watched(CountingEngine())

    @cached_property
    def cluster(self) -> PostgresCluster:
        return self._watched(CountingCluster(self.reach))

    @cached_property
    def http(self) -> HttpClient:
        return self._watched(CountingHttp(self.reach))

    def _watched(self, part: Part) -> Part:
        part.changes = self.changes
        return part
