"""Mail reception stops first and starts last: a missing directory must never bounce a mail.

Where nobody answers on port 25, other servers keep the mail and try again. So Stalwart stops before anything restarts
that it asks about people, and the order of the containers' needs starts it after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import PROJECT
from kmuctl.model.step import Drift, Step
from kmuctl.operations.compose import Definition
from kmuctl.operations.stalwart.registry import CONTAINER

PAUSE = "mail:pause"


def with_mail_paused(
    steps: Iterable[Step], containers: Mapping[str, Definition], *, after: tuple[str, ...]
) -> list[Step]:
    """The same steps, those of the containers below Stalwart after a pause of mail."""
    known = [*steps]
    if CONTAINER not in containers:
        return known
    names = needed(CONTAINER, containers)
    below = {f"container:{name}" for name in names}
    images = {f"image:{containers[name]['image']}" for name in names}
    # not for the time of a download, which may fail
    pause = pause_step([step for step in known if step.name in below], after=(*after, *sorted(images)))
    return [pause, *(_fitted(step, below, pause) for step in known)]


def _fitted(step: Step, below: set[str], pause: Step) -> Step:
    if step.name in below:
        return replace(step, after=(*step.after, PAUSE))
    if step.name != f"container:{CONTAINER}":
        return step
    # a plan sees it run, but not for long
    return replace(step, check=lambda host: step.check(host) or pause.check(host))


def pause_of_part(steps: Iterable[Step]) -> list[Step]:
    """For a run that would not start mail again: what mail needs may not restart in it."""
    known = [*steps]
    if f"container:{CONTAINER}" in {step.name for step in known}:
        return known
    below = [step for step in known if PAUSE in step.after]
    return [_refusing(step, below) if step.name == PAUSE else step for step in known]


def _refusing(pause: Step, below: Iterable[Step]) -> Step:
    return replace(pause_step(below, after=pause.after), apply=_refuse)


def _refuse(host: Host) -> None:
    raise StepFailed(
        "mail depends on what restarts here, and would have to stop", hint="run `kmuctl up` without --only"
    )


def needed(container: str, containers: Mapping[str, Definition]) -> set[str]:
    """All that a container depends on, directly or not."""
    direct = set(containers[container].get("depends_on", ()))
    return direct.union(*(needed(other, containers) for other in direct))


def pause_step(restarting: Iterable[Step], *, after: tuple[str, ...]) -> Step:
    watched = [*restarting]

    def check(host: Reader) -> Drift | None:
        fact = host.engine.containers(PROJECT, [CONTAINER]).get(CONTAINER)
        if fact is None or fact.state != "running":
            return None
        for step in watched:
            if drift := step.check(host):
                name = step.name.removeprefix("container:")
                return Drift(f"{name} restarts ({drift.cause}); other servers keep the mail")
        return None

    def apply(host: Host) -> None:
        host.engine.stop(PROJECT, CONTAINER)

    return Step(name=PAUSE, check=check, apply=apply, after=after)
