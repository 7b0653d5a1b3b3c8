"""The engine of `up`: compare steps with a host, or make them hold, as parallel as their order allows."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Thread
from time import monotonic

from kmuctl.model.errors import HostError, KmuError, LinkLost
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Outcome, State, Step, Working, wait_only
from kmuctl.operations.glance import glance

WORKERS = 6
POLL_SECONDS = 0.5
BEAT_SECONDS = 1.0
"""How often a running step is heard of, however long its work keeps silent."""
GRACE_SECONDS = 1.0
"""After Ctrl-C: what is nearly done (a file, a container's start) ends before the next run can meet it."""


def survey(steps: Iterable[Step], host: Reader) -> list[Outcome]:
    """What `converge` would do, and why. Changes nothing."""
    pool, seen = ThreadPoolExecutor(host.at_once), glance(host)
    try:
        return list(pool.map(lambda step: _look(step, seen), steps))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C nobody waits for looks that did not begin


def _look(step: Step, host: Reader) -> Outcome:
    try:
        drift = step.check(host)
    except LinkLost:
        raise
    except KmuError as error:
        return Outcome(step, State.FAILED, error.message, error.hint)
    if drift is None or drift.tolerable:
        return Outcome(step, State.OK, warning=drift.cause if drift else "")
    return Outcome(step, State.BLOCKED if drift.unknown else State.CHANGE, drift.cause)


def _look_calmly(step: Step, host: Reader) -> Outcome:
    try:
        return _look(step, host)
    except LinkLost as error:
        return Outcome(step, State.FAILED, error.message, error.hint)


def converge(steps: Iterable[Step], host: Host, *, workers: int = WORKERS) -> Generator[Outcome | Working, None, None]:
    """Make every step hold, and look again after each change.

    Yields news of running steps, and one Outcome for each step as it is decided. All are looked at first, at once: a
    host may be far away. What holds then, and comes after nothing that does not, is decided. Of the others one starts
    when all steps it comes `after` hold; when one of them fails it is blocked, and whatever does not depend on it
    goes on. Once the link to the host is lost nothing more is begun. Closing the generator ends all waiting, and
    starts nothing more.
    """
    waiting = _known_order(steps)
    decided: dict[str, State] = {}
    crew = _Crew(host)
    try:
        seen = yield from _first_looks([*waiting.values()], crew, host)
        for step in [*waiting.values()]:
            if seen[step.name].state is State.OK and decided.keys() >= {*step.after}:
                decided[waiting.pop(step.name).name] = State.OK
                yield seen[step.name]
        while waiting or crew.running:
            if crew.lost:
                yield from (
                    Outcome(step, State.BLOCKED, "not begun: the connection broke") for step in waiting.values()
                )
                waiting.clear()
            for step in _ready(waiting, decided)[: workers - len(crew.running)]:
                crew.start(waiting.pop(step.name), _broken(step, decided))
            for event in crew.news():
                if isinstance(event, Outcome):
                    decided[event.step.name] = event.state
                yield event
    finally:
        crew.dismiss()


def _first_looks(steps: list[Step], crew: _Crew, host: Host) -> Generator[Working, None, dict[str, Outcome]]:
    """How every step is before anything is done, by name."""
    seen: dict[str, Outcome] = {}
    picture = glance(host)
    while steps or crew.running:
        while steps and len(crew.running) < host.at_once:
            crew.look(steps.pop(0), picture)
        for event in crew.news():
            if isinstance(event, Outcome):
                seen[event.step.name] = event
            else:
                yield event
    return seen


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


def _broken(step: Step, decided: dict[str, State]) -> list[str]:
    return [name for name in step.after if decided[name] in (State.FAILED, State.BLOCKED)]


class _Crew:
    """The steps at work, each in a thread of its own, and what they say.

    The threads are daemons: after Ctrl-C nobody waits for the end of a download.
    """

    def __init__(self, host: Host) -> None:
        self.running: dict[str, tuple[Working, float]] = {}
        """The last news of each, and when it came."""
        self.lost = False
        """There is no way to the host any more."""
        self._host = host
        self._stop = Event()
        self._threads: list[Thread] = []
        self._said: queue.SimpleQueue[Outcome | Working | BaseException] = queue.SimpleQueue()
        self._beat = monotonic() + BEAT_SECONDS

    def look(self, step: Step, host: Reader) -> None:
        """Only look; what cannot be seen now is looked at again when the step starts."""
        self._begin(step, lambda: _look_calmly(step, host))

    def start(self, step: Step, broken: list[str]) -> None:
        blocked = Outcome(step, State.BLOCKED, f"after {broken[0]}") if broken else None
        self._begin(step, lambda: blocked or self._make_hold(step))

    def _begin(self, step: Step, work: Callable[[], Outcome]) -> None:
        self.running[step.name] = Working(step, "looking"), monotonic()
        self._threads.append(Thread(target=self._bring, args=(step, work), name=step.name, daemon=True))
        self._threads[-1].start()

    def dismiss(self) -> None:
        """Nobody waits for a check any more, and we not for long."""
        self._stop.set()
        end = monotonic() + GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - monotonic()))

    def news(self) -> list[Outcome | Working]:
        """What was said next; at each beat, what every running step is at."""
        try:
            said = self._said.get(timeout=max(0.0, self._beat - monotonic()))
        except queue.Empty:
            self._beat = monotonic() + BEAT_SECONDS
            return [replace(last, seconds=last.seconds + monotonic() - at) for last, at in self.running.values()]
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, Working):
            self.running[said.step.name] = said, monotonic()
        else:
            del self.running[said.step.name]
        return [said]

    def _bring(self, step: Step, work: Callable[[], Outcome]) -> None:
        started = monotonic()
        try:
            outcome = work()
        except LinkLost as error:
            self.lost = True
            self._stop.set()
            outcome = Outcome(step, State.FAILED, error.message, error.hint)
        except KmuError as error:
            outcome = Outcome(step, State.FAILED, error.message, error.hint or step.hint)
        except BaseException as error:  # noqa: BLE001 (a bug: the main thread raises it again, traceback and all)
            self._said.put(error)
            return
        self._said.put(replace(outcome, seconds=monotonic() - started))

    def _make_hold(self, step: Step) -> Outcome:
        drift = step.check(self._host)
        if drift is None or drift.tolerable:
            return Outcome(step, State.OK, warning=drift.cause if drift else "")
        self._said.put(Working(step, drift.cause))
        step.apply(self._host)
        left = self._wait(step)
        if left is None or left.tolerable:
            state = State.OK if step.apply is wait_only else State.CHANGE
            return Outcome(step, state, drift.cause, warning=left.cause if left else "")
        return Outcome(step, State.FAILED, left.cause, left.hint or step.hint)

    def _wait(self, step: Step) -> Drift | None:
        """Look until the step holds, at most for its deadline."""
        started = monotonic()
        while (drift := self._look_again(step)) is not None:
            elapsed = monotonic() - started
            if drift.tolerable or drift.hopeless or self._stop.is_set():
                return drift
            if elapsed >= step.deadline:
                return replace(drift, cause=drift.cause + (f" (waited {step.deadline} s)" if step.deadline else ""))
            self._said.put(Working(step, drift.cause, elapsed))
            self._stop.wait(POLL_SECONDS)
        return None

    def _look_again(self, step: Step) -> Drift | None:
        """What cannot be asked just now may be restarting."""
        try:
            return step.check(self._host)
        except HostError as error:
            return Drift(error.message, hint=error.hint)


def at_least_once(step: Step, cause: str) -> Step:
    """The same step, done even when it holds already."""
    done = Event()

    def check(host: Reader) -> Drift | None:
        return step.check(host) if done.is_set() else Drift(cause)

    def apply(host: Host) -> None:
        step.apply(host)
        done.set()

    return replace(step, check=check, apply=apply)


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
