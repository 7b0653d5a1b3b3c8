"""The engine of `up`: compare steps with a host, or make them hold, as parallel as their order allows."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from time import monotonic

from kmuctl.model.errors import KmuError
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Outcome, State, Step, Working

WORKERS = 6
POLL_SECONDS = 0.5


def survey(steps: Iterable[Step], host: Reader) -> list[Outcome]:
    """What `converge` would do, and why. Changes nothing."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(lambda step: _look(step, host), steps))


def _look(step: Step, host: Reader) -> Outcome:
    try:
        drift = step.check(host)
    except KmuError as error:
        return Outcome(step, State.FAILED, error.message, error.hint)
    if drift is None:
        return Outcome(step, State.OK)
    return Outcome(step, State.BLOCKED if drift.unknown else State.CHANGE, drift.cause)


def converge(steps: Iterable[Step], host: Host, *, workers: int = WORKERS) -> Iterator[Outcome | Working]:
    """Make every step hold, and look again after each change.

    Yields news of running steps, and one Outcome for each step as it is decided. A step starts when all steps
    it comes `after` hold; when one of them fails it is blocked, and whatever does not depend on it goes on.
    """
    waiting = _known_order(steps)
    decided: dict[str, State] = {}
    events: queue.SimpleQueue[Outcome | Working | BaseException] = queue.SimpleQueue()
    stop = Event()
    running = 0
    pool = ThreadPoolExecutor(workers)
    try:
        while waiting or running:
            for step in _ready(waiting, decided):
                del waiting[step.name]
                running += 1
                pool.submit(_bring, step, host, decided, events, stop)
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Outcome):
                decided[event.step.name] = event.state
                running -= 1
            yield event
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _known_order(steps: Iterable[Step]) -> dict[str, Step]:
    """Steps by name; a name that comes twice, or an `after` that names no earlier step, is a bug."""
    known: dict[str, Step] = {}
    for step in steps:
        if step.name in known or not known.keys() >= set(step.after):
            raise ValueError(f"step {step.name} comes twice or before {set(step.after) - known.keys()}")
        known[step.name] = step
    return known


def _ready(waiting: dict[str, Step], decided: dict[str, State]) -> list[Step]:
    return [step for step in waiting.values() if all(name in decided for name in step.after)]


def _bring(
    step: Step,
    host: Host,
    decided: dict[str, State],
    events: queue.SimpleQueue[Outcome | Working | BaseException],
    stop: Event,
) -> None:
    started = monotonic()
    failed = [name for name in step.after if decided[name] in (State.FAILED, State.BLOCKED)]
    try:
        outcome = Outcome(step, State.BLOCKED, f"after {failed[0]}") if failed else _make_hold(step, host, events, stop)
    except KmuError as error:
        outcome = Outcome(step, State.FAILED, error.message, error.hint or step.hint)
    except BaseException as error:  # noqa: BLE001 (a bug: the main thread raises it again, traceback and all)
        events.put(error)
        return
    events.put(replace(outcome, seconds=monotonic() - started))


def _make_hold(
    step: Step, host: Host, events: queue.SimpleQueue[Outcome | Working | BaseException], stop: Event
) -> Outcome:
    drift = step.check(host)
    if drift is None:
        return Outcome(step, State.OK)
    events.put(Working(step, drift.cause))
    step.apply(host)
    left = _wait(step, host, events, stop)
    if left is None:
        return Outcome(step, State.CHANGE, drift.cause)
    return Outcome(step, State.FAILED, left.cause, left.hint or step.hint)


def _wait(
    step: Step, host: Host, events: queue.SimpleQueue[Outcome | Working | BaseException], stop: Event
) -> Drift | None:
    """Look until the step holds, at most for its deadline."""
    started = monotonic()
    while (drift := step.check(host)) is not None:
        elapsed = monotonic() - started
        if drift.hopeless or stop.is_set():
            return drift
        if elapsed >= step.deadline:
            return replace(drift, cause=drift.cause + (f" (waited {step.deadline} s)" if step.deadline else ""))
        events.put(Working(step, drift.cause, elapsed))
        stop.wait(POLL_SECONDS)
    return None


def with_predecessors(steps: Iterable[Step], names: set[str]) -> list[Step]:
    """The named steps and all that they come after, in their order."""
    known = {step.name: step for step in steps}
    wanted: set[str] = set()
    queue_ = [name for name in names if name in known]
    while queue_:
        name = queue_.pop()
        if name not in wanted:
            wanted.add(name)
            queue_ += [other for other in known[name].after if other in known]
    return [step for name, step in known.items() if name in wanted]
