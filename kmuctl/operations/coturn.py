"""coturn takes a renewed certificate while it runs, but its first one only at a start."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secrets
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.render import Rendered

CONTAINER = "coturn"
LISTENS = ("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/5349")
DEADLINE = 30


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    """Relayed calls over TLS, once there is a certificate for them."""
    if CONTAINER in stack:
        yield tls_step(stack, after=(f"container:{CONTAINER}",))


def tls_step(stack: Stack, *, after: tuple[str, ...]) -> Step:
    """Without a certificate at its start coturn opens no TLS port, and a signal to reload opens none either."""
    files = [stack.data(CONTAINER, f"certs/turn.{kind}") for kind in ("crt", "key")]

    def check(host: Reader) -> Drift | None:
        fact = host.engine.containers(PROJECT, [CONTAINER]).get(CONTAINER)
        if fact is None or fact.state != "running" or len(host.facts(files)) < len(files):
            return None  # it reads them when it starts; without them it serves UDP and TCP
        listening = host.engine.ask(PROJECT, CONTAINER, LISTENS)
        return Drift("it started before it had a certificate") if listening.code else None

    def apply(host: Host) -> None:
        host.engine.restart(PROJECT, CONTAINER)

    return Step(
        name="coturn:tls", check=check, apply=apply, after=after, deadline=DEADLINE, logs=(CONTAINER,),
        hint=f"`{files[0]}` and its key must be readable by user {stack[CONTAINER].containers[0].uid}, and fit",
    )  # fmt: skip
