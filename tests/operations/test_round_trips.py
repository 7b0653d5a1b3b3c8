"""How often an `up` with nothing to do waits for the host: over a link each time costs what the link takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from kmuctl.model.step import State
from kmuctl.operations.plan import WORKERS
from kmuctl.operations.preflight import preflight
from tests.fakes import FakeHost
from tests.operations.scenes import bring, running, states, steps
from tests.support import stack

LINK_SECONDS = 0.08
WAITS = {
    "http.ask": 2, "http.send": 3, "engine.ask": 2, "engine.logs": 2, "engine.containers": 1, "cluster.databases": 6,
    "cluster.accepts": 5, "tls.serial": 4,
}  # fmt: skip
"""At most, as tests/drivers/test_ssh_clients.py counts them; whatever is not named here takes one."""
PARTS = ("engine", "http", "cluster", "tls")
FREE = ("now", "entry")


class Counted:
    """A host, or a part of one, that notes what it is asked."""

    def __init__(self, inner: object, asked: Counter[str], prefix: str = "") -> None:
        self._inner, self._asked, self._prefix = inner, asked, prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in PARTS:
            return Counted(found, self._asked, f"{name}.")
        return self._noting(name, found) if name not in FREE else found

    def _noting(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any, **options: Any) -> Any:
            self._asked[self._prefix + name] += 1
            return method(*arguments, **options)

        return noting


def waits(asked: Counter[str]) -> int:
    return sum(WAITS.get(name, 1) * times for name, times in asked.items())


def counted(host: FakeHost) -> tuple[Any, Counter[str]]:
    asked: Counter[str] = Counter()
    return Counted(host, asked), asked


def test_an_up_with_nothing_to_do_is_bearable_over_a_slow_link() -> None:
    """K1: all workers wait at the same time; ten seconds are the limit for the whole command."""
    host, asked = counted(running())
    outcomes = bring(steps(host), host)
    assert states(outcomes, State.OK) == outcomes.keys()
    assert waits(asked) * LINK_SECONDS / WORKERS < 6, asked


def test_the_preflight_does_not_ask_for_each_thing_by_itself() -> None:
    host, asked = counted(running())
    preflight(stack(), host)
    assert waits(asked) <= 40, asked
