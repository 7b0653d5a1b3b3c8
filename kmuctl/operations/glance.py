"""A host looked at by many at once, while nothing is changed: what several of them ask is asked once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from threading import Lock
from typing import Any, TypeVar, cast

from kmuctl.model.host import ContainerFact, DatabaseFact, Reader

Found = TypeVar("Found")


def glance(host: Reader) -> Reader:
    """The host as it is now, for as long as somebody looks around; never for one who changes something."""
    return cast("Reader", _Glance(host))


class _Once:
    """Answers by question. One that failed is asked again by the next."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._turns: dict[Hashable, Lock] = {}
        self._known: dict[Hashable, Any] = {}

    def ask(self, question: Hashable, ask: Callable[[], Found]) -> Found:
        with self._mutex:
            turn = self._turns.setdefault(question, Lock())
        with turn:
            if question not in self._known:
                self._known[question] = ask()
            return cast("Found", self._known[question])


class _Beside:
    """Everything else is the host's own; a part of it may connect only when it is asked."""

    def __init__(self, own: Callable[[], Any]) -> None:
        self._own = own
        self._once = _Once()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own(), name)


class _Glance(_Beside):
    def __init__(self, host: Reader) -> None:
        super().__init__(lambda: host)
        self.engine = _Engine(lambda: host.engine)
        self.cluster = _Cluster(lambda: host.cluster)


class _Engine(_Beside):
    def containers(self, project: str, names: Iterable[str] | None = None) -> dict[str, ContainerFact]:
        found = self._once.ask(("containers", project), lambda: self._own().containers(project))
        return {name: found[name] for name in (found if names is None else names) if name in found}

    def image(self, reference: str) -> dict[str, str] | None:
        found: dict[str, str] | None = self._once.ask(("image", reference), lambda: self._own().image(reference))
        return found

    def networks(self) -> dict[str, list[str]]:
        return self._once.ask("networks", lambda: self._own().networks())


class _Cluster(_Beside):
    def databases(self, password: str) -> dict[str, DatabaseFact]:
        return self._once.ask(password, lambda: self._own().databases(password))
