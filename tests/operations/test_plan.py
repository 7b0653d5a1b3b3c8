"""The engine of `up`: order, parallel work, failures, waiting, and stopping."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event
from time import monotonic, sleep

import pytest

from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Outcome, State, Step, Working
from kmuctl.operations import plan
from kmuctl.operations.plan import at_least_once, converge, survey, with_predecessors
from tests.fakes import FakeHost
from tests.operations.scenes import bring

ROOT = Path(__file__).parents[2]


def touch(name: str, *after: str, apply: Callable[[Host], None] | None = None, deadline: int = 0) -> Step:
    """A step that wants a file, and writes it unless told to do something else."""

    def check(host: Reader) -> Drift | None:
        return None if host.read(f"/{name}") is not None else Drift("missing")

    def write(host: Host) -> None:
        host.write(f"/{name}", b"")

    return Step(name=name, check=check, apply=apply or write, after=after, deadline=deadline)


def nothing(host: Host) -> None:
    """Does not help."""


def refuse(host: Host) -> None:
    raise StepFailed("no such luck", hint="try again")


def test_a_survey_changes_nothing_and_says_why() -> None:
    host = FakeHost()
    host.write("/a", b"")
    assert [str(outcome) for outcome in survey([touch("a"), touch("b", "a")], host)] == [
        "ok      a",
        "change  b  (missing)",
    ]
    assert host.read("/b") is None


def test_a_survey_shows_a_check_that_refuses() -> None:
    def check(host: Reader) -> Drift | None:
        raise StepFailed("belongs to somebody else", hint="ask them")

    (outcome,) = survey([Step(name="a", check=check, apply=nothing)], FakeHost())
    assert (outcome.state, outcome.cause, outcome.hint) == (State.FAILED, "belongs to somebody else", "ask them")


def test_steps_run_after_those_they_wait_for() -> None:
    order: list[str] = []

    def noted(name: str) -> Callable[[Host], None]:
        def apply(host: Host) -> None:
            order.append(name)
            host.write(f"/{name}", b"")

        return apply

    chain = [touch("a", apply=noted("a")), touch("b", "a", apply=noted("b")), touch("c", "a", "b", apply=noted("c"))]
    outcomes = bring(chain, FakeHost())
    assert order == ["a", "b", "c"]
    assert {outcome.state for outcome in outcomes.values()} == {State.CHANGE}


def test_independent_steps_run_at_the_same_time() -> None:
    meeting = Barrier(3, timeout=10)

    def meet(name: str) -> Callable[[Host], None]:
        def apply(host: Host) -> None:
            meeting.wait()
            host.write(f"/{name}", b"")

        return apply

    outcomes = bring([touch(name, apply=meet(name)) for name in "abc"], FakeHost())
    assert {outcome.state for outcome in outcomes.values()} == {State.CHANGE}


def test_what_waits_for_a_failure_is_blocked_and_the_rest_goes_on() -> None:
    steps = [touch("a", apply=refuse), touch("b", "a"), touch("c", "b"), touch("d"), touch("e", "d")]
    outcomes = bring(steps, FakeHost())
    assert [(name, outcomes[name].state.value, outcomes[name].cause) for name in "abcde"] == [
        ("a", "failed", "no such luck"),
        ("b", "blocked", "after a"),
        ("c", "blocked", "after b"),
        ("d", "change", "missing"),
        ("e", "change", "missing"),
    ]
    assert outcomes["a"].hint == "try again"


def test_a_step_that_does_not_help_fails_with_what_is_left() -> None:
    step = Step(name="a", check=lambda host: Drift("still wrong"), apply=nothing, hint="look at it")
    outcome = bring([step], FakeHost())["a"]
    assert (outcome.state, outcome.cause, outcome.hint) == (State.FAILED, "still wrong", "look at it")


def test_the_deadline_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """K44: the message says what was waited for, and how long."""
    looks: list[Reader] = []

    def check(host: Reader) -> Drift:
        looks.append(host)
        return Drift("missing")

    monkeypatch.setattr(plan, "monotonic", lambda: 10.0 * len(looks))
    monkeypatch.setattr(plan, "BEAT_SECONDS", 1000)
    events = list(converge([Step(name="a", check=check, apply=nothing, deadline=60)], FakeHost()))
    assert isinstance(events[-1], Outcome)
    assert events[-1].cause == "missing (waited 60 s)"
    assert {event.cause for event in events if isinstance(event, Working)} == {"missing"}
    assert len(looks) == 8


def test_a_service_that_restarts_meanwhile_is_waited_for() -> None:
    """It cannot be asked for a moment; what refuses for good is said at once."""
    looks = iter([Drift("old"), Drift("old"), HostError("no answer", hint="wait"), HostError("no answer"), None])

    def check(host: Reader) -> Drift | None:
        found = next(looks)
        if isinstance(found, HostError):
            raise found
        return found

    step = Step(name="a", check=check, apply=nothing, deadline=30)
    outcome = bring([step], FakeHost())["a"]
    assert (outcome.state, next(looks, "all seen")) == (State.CHANGE, "all seen")


def test_a_service_that_stays_away_is_given_up_with_its_reason() -> None:
    looks = iter([Drift("old"), Drift("old")])

    def check(host: Reader) -> Drift | None:
        if found := next(looks, None):
            return found
        raise HostError("no answer", hint="look at it")

    step = Step(name="a", check=check, apply=nothing, deadline=0)
    outcome = bring([step], FakeHost())["a"]
    assert (outcome.state, outcome.cause, outcome.hint) == (State.FAILED, "no answer", "look at it")


def test_a_step_whose_work_keeps_silent_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """K44: also while others have much to say, and with the time that it takes."""
    monkeypatch.setattr(plan, "BEAT_SECONDS", 0.01)
    enough, heard = Event(), list[Working]()

    def download(host: Host) -> None:
        enough.wait(10)
        host.write("/image", b"")

    def check(host: Reader) -> Drift | None:
        return None if enough.is_set() else Drift("noisy")

    steps = [touch("image", apply=download), Step(name="b", check=check, apply=nothing, deadline=60)]
    for event in converge(steps, FakeHost()):
        if isinstance(event, Working) and event.step.name == "image":
            heard.append(event)
        if len(heard) > 3:
            enough.set()
    assert {event.cause for event in heard} == {"missing"}
    assert heard[0].seconds < heard[1].seconds < heard[2].seconds < heard[3].seconds


def test_a_long_look_is_heard_of_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BEAT_SECONDS", 0.01)
    heard = Event()

    def check(host: Reader) -> Drift | None:
        heard.wait(10)
        return None

    for event in converge([Step(name="a", check=check, apply=nothing)], FakeHost()):
        if isinstance(event, Working):
            assert event.cause == "looking"
            heard.set()
    assert heard.is_set()


def test_what_is_hopeless_is_not_waited_for() -> None:
    step = Step(name="a", check=lambda host: Drift("gone for good", hopeless=True), apply=nothing, deadline=3600)
    started = monotonic()
    assert bring([step], FakeHost())["a"].cause == "gone for good"
    assert monotonic() - started < 5


def test_a_drift_may_carry_a_better_hint_than_its_step() -> None:
    drift = Drift("gone", hopeless=True, hint="for this case")
    step = Step(name="a", check=lambda host: drift, apply=nothing, hint="in general")
    assert bring([step], FakeHost())["a"].hint == "for this case"


def test_closing_stops_the_waiting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: nobody sits out a deadline of ten minutes, or even the pause between two looks."""
    monkeypatch.setattr(plan, "POLL_SECONDS", 60)
    events = converge([touch("a", apply=nothing, deadline=600)], FakeHost())
    assert isinstance(next(events), Working)
    started = monotonic()
    events.close()
    assert monotonic() - started < 5


def test_closing_lets_what_is_nearly_done_end() -> None:
    """The next run does not meet it."""
    host, begun = FakeHost(), Event()

    def write(host: Host) -> None:
        begun.set()
        sleep(0.1)
        host.write("/a", b"")

    events = converge([touch("a", apply=write)], host)
    next(events)
    begun.wait(10)
    events.close()
    assert host.read("/a") is not None


INTERRUPTED = """
import os, signal, threading, time
from contextlib import closing
from tests.fakes import FakeHost
from kmuctl.model.step import Drift, Step
from kmuctl.operations.plan import converge

def download(host):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

step = Step(name="image", check=lambda host: Drift("missing"), apply=download)
try:
    with closing(converge([step], FakeHost())) as events:
        list(events)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_does_not_wait_for_work_that_blocks() -> None:
    """An image may take minutes: neither closing nor the end of the program waits for its thread."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_ctrl_c_stops_steps_that_have_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "POLL_SECONDS", 60)
    host = FakeHost()
    steps = [touch("a", apply=nothing, deadline=600), *(touch(f"b{number}") for number in range(20))]
    events = converge(steps, host, workers=1)
    next(events)
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt())
    assert host.tree("/") == []


def test_a_bug_in_a_step_keeps_its_traceback() -> None:
    def buggy(host: Host) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError) as caught:
        bring([touch("a", apply=buggy), touch("b")], FakeHost())
    assert "buggy" in "".join(traceback.format_exception(caught.value))


def test_a_bug_does_not_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "POLL_SECONDS", 60)
    waiting = Event()

    def wait(host: Host) -> None:
        waiting.set()

    def buggy(host: Host) -> None:
        waiting.wait(10)
        raise ZeroDivisionError

    started = monotonic()
    with pytest.raises(ZeroDivisionError):
        bring([touch("a", apply=wait, deadline=600), touch("b", apply=buggy)], FakeHost())
    assert monotonic() - started < 5


@pytest.mark.parametrize(
    "steps",
    [[touch("a"), touch("a")], [touch("a", "b"), touch("b")], [touch("a", "nobody")]],
    ids=["twice", "before what it waits for", "after nothing known"],
)
def test_a_muddled_plan_is_a_bug(steps: list[Step]) -> None:
    with pytest.raises(ValueError, match="step a comes twice or before"):
        bring(steps, FakeHost())


def test_an_outcome_knows_its_time() -> None:
    assert bring([touch("a")], FakeHost())["a"].seconds >= 0


def test_what_holds_already_can_be_done_once_more() -> None:
    host = FakeHost()
    host.write("/a", b"old")
    step = at_least_once(touch("a"), "again")
    assert [str(outcome) for outcome in survey([step], host)] == ["change  a  (again)"]
    assert bring([step], host)["a"].cause == "again"
    assert host.read("/a") == b""
    assert bring([step], host)["a"].state is State.OK


def test_predecessors_come_along_in_their_order() -> None:
    steps = [touch("a"), touch("b", "a"), touch("c"), touch("d", "b")]
    assert [step.name for step in with_predecessors(steps, {"d", "unknown"})] == ["a", "b", "d"]
