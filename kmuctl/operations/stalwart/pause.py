"""Mail reception stops first and starts last: a missing directory must never bounce a mail.

Where nobody answers on port 25, other servers keep the mail and try again. So Stalwart stops before anything restarts
that it asks about people, and the order of the containers' needs starts it after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import PROJECT
from kmuctl.model.step import Drift, Step
from kmuctl.operations.compose import Definition
from kmuctl.operations.stalwart.registry import CONTAINER

STEP = f"container:{CONTAINER}"


@dataclass(frozen=True, slots=True)
class Pausing:
    """The apply of a container that mail depends on."""

    restart: Callable[[Host], None]
    resumed: bool = True
    """Whether this run starts mail again."""

    def __call__(self, host: Host) -> None:
        fact = host.engine.containers(PROJECT, [CONTAINER]).get(CONTAINER)
        if fact is not None and fact.state == "running":
            self._stop(host)
        self.restart(host)

    def _stop(self, host: Host) -> None:
        if not self.resumed:
            raise StepFailed("mail depends on it, and would have to stop", hint="run `kmuctl up` without --only")
        host.engine.stop(PROJECT, CONTAINER)


def with_mail_paused(steps: Iterable[Step], containers: Mapping[str, Definition]) -> list[Step]:
    """The same steps, but mail stops before a container below it restarts."""
    known = [*steps]
    below = {f"container:{name}" for name in needed(CONTAINER, containers)} if CONTAINER in containers else set()
    watched = [step for step in known if step.name in below]
    return [_fitted(step, watched) for step in known]


def _fitted(step: Step, watched: Iterable[Step]) -> Step:
    if step in watched:
        return replace(step, apply=Pausing(step.apply))
    if step.name != STEP:
        return step
    # a plan sees it run, but not for long
    return replace(step, check=lambda host: step.check(host) or _stopping(host, watched))


def _stopping(host: Reader, watched: Iterable[Step]) -> Drift | None:
    for step in watched:
        if drift := step.check(host):
            return Drift(f"stops while {step.name.removeprefix('container:')} restarts ({drift.cause})")
    return None


def refusing_to_pause(steps: Iterable[Step]) -> list[Step]:
    """For a run that may not start mail again: what mail needs does not restart in it."""
    known = [*steps]
    if any(step.name == STEP for step in known):
        return known
    return [_alone(step, step.apply) if isinstance(step.apply, Pausing) else step for step in known]


def _alone(step: Step, pausing: Pausing) -> Step:
    return replace(step, apply=replace(pausing, resumed=False))


def needed(container: str, containers: Mapping[str, Definition]) -> set[str]:
    """All that a container depends on, directly or not."""
    direct = set(containers[container].get("depends_on", ()))
    return direct.union(*(needed(other, containers) for other in direct))
