"""kmuctl is killed, or a connection breaks, at a chosen change of a host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from threading import Lock, local
from typing import Any, ParamSpec, TypeVar

from kmuctl.model.errors import HostError
from kmuctl.model.step import Step
from tests.fakes import FakeHost
from tests.operations.scenes import bring

P = ParamSpec("P")
R = TypeVar("R")


WAYS = ("killed", "not answered")
"""What can happen at a change. Killed after one, or a change that is not sent, leaves a host as one of these does."""


class Killed(BaseException):
    """As by kill -9: nobody catches it, and nothing that stands after it is done."""


@dataclass
class Knife:
    """Counts changes of a host. From number `at` on kmuctl is dead; or that one is made, but nobody is told."""

    at: int = 0
    way: str = WAYS[0]
    made: list[str] = field(default_factory=list)
    _inside: local = field(default_factory=local)
    _lock: Any = field(default_factory=Lock)

    def over(self, name: str, change: Callable[P, R]) -> Callable[P, R]:
        def changing(*arguments: P.args, **options: P.kwargs) -> R:
            if getattr(self._inside, "change", ""):
                return change(*arguments, **options)  # what a service does by itself
            number = self._next(name)
            if self.way == "killed" and 0 < self.at <= number:
                raise Killed
            self._inside.change = name
            try:
                answer = change(*arguments, **options)
            finally:
                self._inside.change = ""
            if number == self.at:
                raise HostError(f"`{name}` does not answer")
            return answer

        return changing

    def _next(self, name: str) -> int:
        with self._lock:
            self.made.append(name)
            return len(self.made)


@contextmanager
def held_over(host: FakeHost, knife: Knife) -> Iterator[None]:
    """The knife sees all that kmuctl changes: files, containers, roles, and what is inside the services."""
    places = [(part, verb) for part, verbs in _verbs(host) for verb in verbs]
    for part, verb in places:
        setattr(part, verb, knife.over(verb, getattr(part, verb)))
    try:
        yield
    finally:
        for part, verb in places:
            delattr(part, verb)


def _verbs(host: FakeHost) -> list[tuple[object, tuple[str, ...]]]:
    return [
        (host, ("run", "write", "remove")),
        (host.http, ("send",)),
        (host.cluster, ("set_role", "create_database", "close_database")),
        (host.engine, ("execute", "restart", "stop", "signal", "remove")),
    ]


def only(steps: Iterable[Step], names: Iterable[str]) -> list[Step]:
    """The named steps, which wait for one another alone, and for nothing long."""
    wanted = set(names)
    return [
        replace(step, after=tuple(name for name in step.after if name in wanted), deadline=0)
        for step in steps if step.name in wanted
    ]  # fmt: skip


def cut(steps: Iterable[Step], host: FakeHost, knife: Knife) -> None:
    """Bring the steps as far as the knife lets. Afterwards nothing is in the way."""
    with held_over(host, knife), suppress(Killed):
        bring(steps, host)


def every_cut(steps: Iterable[Step], scene: Callable[[], FakeHost], way: str) -> Iterator[tuple[str, FakeHost]]:
    """For each change of an undisturbed run: what it is, and a host on which it went wrong in this way."""
    known, undisturbed = [*steps], Knife()
    cut(known, scene(), undisturbed)
    assert undisturbed.made, "nothing to cut off"
    for number, name in enumerate(undisturbed.made, 1):
        host = scene()
        cut(known, host, Knife(number, way))
        yield f"{way} {number} ({name})", host
