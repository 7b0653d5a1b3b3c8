"""How often an `up` with nothing to do waits for the host: over a link each time costs what the link takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from kmuctl.drivers.ssh.host import QUESTIONS, SshHost
from kmuctl.drivers.ssh.sessions import MOST
from kmuctl.model.errors import HostError
from kmuctl.model.host import ContainerFact
from kmuctl.model.step import State
from kmuctl.operations.glance import glance
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
FREE = ("now", "entry", "at_once")


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
    """K1: all wait at the same time, as far as the link lets them; ten seconds are the limit for the whole command."""
    host, asked = counted(running())
    outcomes = bring(steps(host), host)
    assert states(outcomes, State.OK) == outcomes.keys()
    assert waits(asked) / SshHost.at_once * LINK_SECONDS < 2, asked
    engine = Counter({name: times for name, times in asked.items() if name.startswith("engine.")})
    assert waits(engine) / QUESTIONS * LINK_SECONDS < 2, engine
    # sshd takes ten sessions: those of the engine's questions and the lock's stay open
    commands = Counter({name: times for name, times in asked.items() if "." not in name})
    assert waits(commands) / (MOST - QUESTIONS - 1) * LINK_SECONDS < 2, commands


def test_what_all_ask_is_asked_once() -> None:
    host, asked = counted(running())
    bring(steps(host), host)
    assert (asked["engine.containers"], asked["engine.networks"], asked["cluster.databases"]) == (1, 1, 1)
    assert asked["engine.image"] == len({container.image for container in stack().containers()})


def test_a_question_that_failed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look in vain says nothing about the next."""
    host = running()
    seen = glance(host)

    def silent(project: str) -> dict[str, ContainerFact]:
        raise HostError("no answer")

    with monkeypatch.context() as while_down, pytest.raises(HostError):
        while_down.setattr(host.engine, "containers", silent)
        seen.engine.containers("kmu")
    assert seen.engine.containers("kmu", ["caddy"]).keys() == {"caddy"}
    assert seen.engine.containers("kmu", ["nobody"]) == {}


def test_the_preflight_does_not_ask_for_each_thing_by_itself() -> None:
    host, asked = counted(running())
    preflight(stack(), host)
    assert waits(asked) <= 40, asked
