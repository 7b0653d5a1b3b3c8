"""A wish about a host: how to see whether it holds, how to make it hold, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from kmuctl.model.host import Host, Reader


@dataclass(frozen=True, slots=True)
class Drift:
    """Why a step does not hold.

    `hopeless`: waiting longer cannot mend it. `unknown`: it may hold after all. `tolerable`: the step counts as
    holding, and the admin is told each time.
    """

    cause: str
    hopeless: bool = False
    unknown: bool = False
    tolerable: bool = False
    hint: str = ""


def unseen(product: str) -> Drift:
    """Inside a product that does not run nothing can be looked at."""
    return Drift(f"can be seen when {product} runs", unknown=True)


def few(words: Iterable[str], *, most: int = 3, joint: str = ", ") -> str:
    """The first ones of what may be many, for a cause in one line."""
    known = [*words]
    return joint.join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    check: Callable[[Reader], Drift | None]
    apply: Callable[[Host], None]
    after: tuple[str, ...] = ()
    hint: str = ""
    deadline: int = 0
    """Seconds that the check may need to come true after `apply`."""
    logs: tuple[str, ...] = ()
    """Containers whose last log lines explain a failure."""


def wait_only(host: Host) -> None:
    """The apply of a step that comes true by itself: nothing is changed, and none is counted."""


class State(StrEnum):
    OK = "ok"
    CHANGE = "change"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Outcome:
    step: Step
    state: State
    cause: str = ""
    hint: str = ""
    seconds: float = 0.0
    warning: str = ""
    """What is not as wished, and no reason to fail."""

    def __str__(self) -> str:
        return f"{self.state.value:8}{self.step.name}" + (f"  ({self.cause})" if self.cause else "")


@dataclass(frozen=True, slots=True)
class Working:
    """A step is being done; `cause` is what it is waiting for, or why it is done at all."""

    step: Step
    cause: str
    seconds: float = 0.0
