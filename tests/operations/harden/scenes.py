"""The parts of this folder's tests: steps on a fresh server in memory, one after another as `harden` does them."""

from __future__ import annotations

from typing import Any

from kmuctl.model.step import Outcome, State, Working
from kmuctl.operations.harden import harden
from kmuctl.operations.harden.preflight import examine
from kmuctl.operations.plan import converge, survey
from tests.fakes.server import Server
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


def causes(outcomes: dict[str, Outcome], state: State = State.CHANGE) -> dict[str, str]:
    return {name: outcome.cause for name, outcome in outcomes.items() if outcome.state is state}
