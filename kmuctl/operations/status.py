"""What runs, and how it is."""

from __future__ import annotations

from dataclasses import dataclass

from kmuctl.model.host import ContainerFact, Reader
from kmuctl.model.stack import Stack
from kmuctl.operations.containers import ailing


@dataclass(frozen=True, slots=True)
class Line:
    container: str
    service: str
    image: str
    state: str
    """healthy, or in plain words what is wrong."""
    fine: bool
    restarts: int


def status(stack: Stack, host: Reader) -> list[Line]:
    """One line for each container of the stack, and for each that should not be there any more."""
    facts = host.engine.containers(stack.project)
    own = [
        _line(service.name, container.name, facts.get(container.name))
        for service in stack.services
        for container in service.containers
    ]
    known = {line.container for line in own}
    return own + [
        Line(name, "-", fact.image, "not part of the site any more: `kmuctl up` removes it", False, fact.restarts)
        for name, fact in sorted(facts.items())
        if name not in known
    ]


def _line(service: str, name: str, fact: ContainerFact | None) -> Line:
    drift = ailing(name, fact)
    words = drift.cause.removeprefix(f"{name} ").removeprefix("is ") if drift else "healthy"
    return Line(name, service, fact.image if fact else "", words, drift is None, fact.restarts if fact else 0)
