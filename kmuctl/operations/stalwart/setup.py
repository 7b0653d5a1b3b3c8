"""Stalwart's first set-up, and the way back in when kmuctl's key is lost: behind closed doors.

An unconfigured Stalwart answers 550 to mail for a domain that it does not know yet. So it is set up in a container
without published ports, which alone has recovery credentials, made for this moment; the one that serves never has any.
"""

from __future__ import annotations

import json
from time import monotonic, sleep
from typing import Any

from kmuctl.model.errors import HostError, KmuError, StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secret, password
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations import compose
from kmuctl.operations.containers import ailing, compose_up
from kmuctl.operations.render import Rendered
from kmuctl.operations.stalwart.plan import fulfil, read_plan
from kmuctl.operations.stalwart.registry import CONTAINER, Registry, key_file, known_key

PLAN = "stalwart/plan.ndjson"
ADMIN, ACCOUNT = "admin", "kmuctl"
LOOK_SECONDS = 0.5


def setup_step(stack: Stack, rendered: Rendered, *, after: tuple[str, ...]) -> Step:
    """kmuctl has a key to the registry. Comes before the container that serves."""

    def check(host: Reader) -> Drift | None:
        key = known_key(stack, host)
        if key is None:
            return Drift("kmuctl has no key to it yet")
        fact = host.engine.containers(stack.project, [CONTAINER]).get(CONTAINER)
        if fact is None:
            return Drift("its database may be another one: it opens when it is set up")
        if fact.health != "healthy" or Registry(key).welcome(host):
            return None
        return Drift("it does not know kmuctl's key any more")

    def apply(host: Host) -> None:
        recovery = Secret(password())
        try:
            _open(stack, rendered, host, recovery)
            key = _set_up(stack, rendered, host, Registry(user=(ADMIN, recovery)))
        except KmuError:
            host.engine.stop(stack.project, CONTAINER)  # with recovery credentials it must not stand about
            raise
        host.write(key_file(stack), key.reveal().encode(), mode=0o600)

    return Step(
        name="stalwart:setup", check=check, apply=apply, after=after, logs=(CONTAINER,),
        hint=f"`kmuctl logs {CONTAINER}` shows more; then run `kmuctl up` again",
    )  # fmt: skip


def _set_up(stack: Stack, rendered: Rendered, host: Host, admin: Registry) -> Secret:
    if not admin.welcome(host):
        raise HostError("Stalwart does not take its recovery credentials", hint=f"`kmuctl logs {CONTAINER}`")
    fulfil(read_plan(rendered.files[PLAN].content.decode()), admin, host)
    return _new_key(stack, admin, host)


def _open(stack: Stack, rendered: Rendered, host: Host, recovery: Secret) -> None:
    """Start the closed container, and wait until it is healthy."""
    project = closed_project(rendered.files[compose.FILE].content, recovery)
    compose_up(host, stack.rendered, CONTAINER, project=project)
    end = monotonic() + stack["stalwart"].container(CONTAINER).deadline
    while (drift := ailing(CONTAINER, host.engine.containers(stack.project, [CONTAINER]).get(CONTAINER))) is not None:
        if drift.hopeless or monotonic() > end:
            raise StepFailed(drift.cause)
        sleep(LOOK_SECONDS)


def closed_project(text: bytes, recovery: Secret) -> bytes:
    """The Compose project with Stalwart for nobody but us; its label makes sure that `up` never leaves it so."""
    from ruamel.yaml import YAML

    project: dict[str, Any] = YAML(typ="safe").load(text)
    service = project["services"][CONTAINER]
    del service["ports"]
    del service["networks"]["proxy"]
    service["environment"]["STALWART_RECOVERY_ADMIN"] = f"{ADMIN}:{recovery.reveal()}"
    service["labels"][compose.DEFINITION] = "set-up"
    return json.dumps(project).encode()


def _new_key(stack: Stack, admin: Registry, host: Host) -> Secret:
    """A key of the account `kmuctl`, which the plan makes; older ones are lost, and go."""
    accounts = [
        row for row in admin.find(host, "Account", {"name": ACCOUNT})
        if row["emailAddress"] == f"{ACCOUNT}@{stack.site.domain}"
    ]  # fmt: skip
    if not accounts:
        raise StepFailed(f"Stalwart has no account `{ACCOUNT}`, although its plan makes one")
    owner = {"accountId": accounts[0]["id"]}
    if old := [row["id"] for row in admin.rows(host, "ApiKey", **owner)]:
        admin.change(host, "ApiKey", destroy=old, **owner)
    made = admin.change(host, "ApiKey", create={"key": {"description": ACCOUNT}}, **owner)
    return Secret(made["created"]["key"]["secret"])
