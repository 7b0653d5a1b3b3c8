"""A link that breaks in the middle: nothing more is begun, nobody waits, and the report says what is certain."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from time import monotonic

import pytest

from kmuctl.model.errors import LinkLost
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, State, Step
from kmuctl.operations.plan import survey
from tests.fakes import FakeHost
from tests.operations.scenes import bring, empty, go_up, running, steps

LOST = "the connection to root@203.0.113.9 broke at `x`: it may have begun, and how it ended is unknown"


def lose(_: Reader) -> Drift | None:
    raise LinkLost("root@203.0.113.9", "`x`", begun=True)


def step(name: str, *after: str, **changes: object) -> Step:
    made: set[str] = set()
    check = lambda host: None if name in made else Drift("to do")  # noqa: E731
    return replace(Step(name=name, check=check, apply=lambda host: made.add(name), after=after), **changes)  # type: ignore[arg-type]


def test_nothing_more_is_begun() -> None:
    """Not even what does not depend on it."""
    steps_ = [step("first"), step("second", "first", check=lose), step("third", "second"), step("other", "second")]
    outcomes = bring(steps_, FakeHost())
    assert [(name, outcome.state) for name, outcome in outcomes.items()] == [
        ("first", State.CHANGE), ("second", State.FAILED), ("third", State.BLOCKED), ("other", State.BLOCKED),
    ]  # fmt: skip
    assert outcomes["second"].cause == LOST
    assert "run the same command again" in outcomes["second"].hint
    assert outcomes["third"].cause == "not begun: the connection broke"


def test_nobody_waits_for_a_deadline() -> None:
    """A service that restarts is waited for; a host that is gone is not."""
    looks = iter([Drift("to do"), Drift("to do"), Drift("it is starting")])

    def check(host: Reader) -> Drift | None:
        return next(looks, None) or lose(host)

    waiting = Step(name="waiting", check=check, apply=lambda host: None, deadline=600)
    started = monotonic()
    outcomes = bring([waiting, step("next", "waiting")], FakeHost())
    assert monotonic() - started < 30
    assert (outcomes["waiting"].state, outcomes["waiting"].cause) == (State.FAILED, LOST)
    assert outcomes["next"].state is State.BLOCKED


def test_what_is_at_work_ends_by_itself() -> None:
    """Its own answer counts: it may have been done."""
    begun, lost = Event(), Event()

    def slow(host: Host) -> None:
        begun.set()
        assert lost.wait(10)

    def break_off(host: Host) -> None:
        assert begun.wait(10)
        lost.set()
        lose(host)

    at_work = step("at work", apply=slow, check=lambda host: None if lost.is_set() else Drift("to do"))
    outcomes = bring([at_work, step("lost", apply=break_off)], FakeHost())
    assert (outcomes["at work"].state, outcomes["lost"].state) == (State.CHANGE, State.FAILED)


def test_a_plan_without_a_link_is_none() -> None:
    with pytest.raises(LinkLost):
        survey([step("one"), step("two", check=lose)], FakeHost())


@pytest.mark.parametrize("broken", ["container:postgres", "container:caddy", "files:nextcloud"])
def test_the_next_up_goes_on(broken: str) -> None:
    """U36: wherever it broke, the second run ends at the same place."""
    host = empty()

    def break_off(_: Host) -> None:
        raise LinkLost("root@203.0.113.9", "`x`", begun=True)

    cut = [replace(known, apply=break_off) if known.name == broken else known for known in steps(host)]
    outcomes = bring(cut, host)
    assert outcomes[broken].state is State.FAILED
    assert State.BLOCKED in {outcome.state for outcome in outcomes.values()}
    assert {outcome.state for outcome in go_up(host).values()} <= {State.OK, State.CHANGE}
    assert host.snapshot()["files"].keys() == running().snapshot()["files"].keys()
