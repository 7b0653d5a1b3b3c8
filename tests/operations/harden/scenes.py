"""The parts of this folder's tests: steps on a fresh server in memory, one after another as `harden` does them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kmuctl.model.host import Host
from kmuctl.model.step import Outcome, State, Step, Working
from kmuctl.operations.harden import harden
from kmuctl.operations.harden.preflight import examine
from kmuctl.operations.plan import converge, survey
from tests.fakes.server import Server
from tests.operations.scenes import bring
from tests.support import stack

PARTS = ("system", "docker", "firewall", "ssh", "fail2ban")


def only(part: str, **more: Any) -> dict[str, Any]:
    """The table [harden] with one part switched on."""
    return {name: name == part for name in PARTS} | more


def plan(host: Server, wanted: dict[str, Any], **site: Any) -> dict[str, Outcome]:
    steps = [*harden(stack(harden=wanted, **site), examine(host))]
    return {outcome.step.name: outcome for outcome in survey(steps, host)}


def go(host: Server, wanted: dict[str, Any], **site: Any) -> dict[str, Outcome]:
    steps = [*harden(stack(harden=wanted, **site), examine(host))]
    events = converge(steps, host, workers=1)
    return {event.step.name: event for event in events if not isinstance(event, Working)}


def but_packages(part: Iterable[Step]) -> list[Step]:
    """The steps of one part without its first, which installs packages: apt's own tests are about that."""
    first, *others = part
    assert first.name.endswith(":packages")
    return [replace(step, after=step.after[1:], deadline=0) for step in others]


def in_order(steps: list[Step], host: Host) -> dict[str, Outcome]:
    """What becomes of them, in the order of the steps."""
    outcomes = bring(steps, host)
    return {step.name: outcomes[step.name] for step in steps}


def states(outcomes: dict[str, Outcome]) -> list[State]:
    return [outcome.state for outcome in outcomes.values()]


def causes(outcomes: dict[str, Outcome], state: State = State.CHANGE) -> dict[str, str]:
    return {name: outcome.cause for name, outcome in outcomes.items() if outcome.state is state}
