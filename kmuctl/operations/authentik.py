"""Authentik applies its blueprints by itself, its outposts connect by themselves. Here is looked whether they did."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha512
from typing import Any
from urllib.parse import quote

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Call, Host, Reader, Reply
from kmuctl.model.secrets import Secret, Secrets
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.render import Rendered

SERVER, WORKER, PORT = "authentik-server", "authentik-worker", 9000
BLUEPRINTS = "blueprints/"
DEADLINE = 180
"""Seconds from the request to a good status: the worker may have other things to do first."""
ATTEMPTS = 3
NAMED = re.compile(r"metaapplyblueprint\n(?: +#.*\n)*? +attrs: \{identifiers: \{name: ([^}]+)\}")
"""The blueprints that one is built on."""
OUTPOSTS, OUTPOST_DEADLINE = ("authentik Embedded Outpost", "ldap"), 120


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    """Every blueprint applied, both outposts connected."""
    files = {path: file.content for path, file in rendered.files.items()}
    token = secrets["authentik_bootstrap_token"]
    yield from (blueprints := [*blueprint_steps(files, token, after=(f"container:{SERVER}", f"container:{WORKER}"))])
    applied = tuple(step.name for step in blueprints)
    yield outposts_step(token, after=(*applied, "container:authentik-ldap"))


def blueprint_steps(files: Mapping[str, bytes], token: Secret, *, after: tuple[str, ...]) -> Iterator[Step]:
    """A step for each rendered blueprint, in the order of their names."""
    for path in sorted(path for path in files if path.startswith(BLUEPRINTS)):
        step = blueprint_step(path.removeprefix(BLUEPRINTS), files[path], token, after=after)
        yield step
        after = (*after, step.name)


def blueprint_step(name: str, content: bytes, token: Secret, *, after: tuple[str, ...]) -> Step:
    """Authentik has applied this very content (upstream/authentik.md 2, "Status"), and nothing of its own after it."""
    digest, path = sha512(content).hexdigest(), f"custom/{name}"
    foundations = [match for match in NAMED.findall(content.decode()) if not match.startswith("kmu - ")]

    def check(host: Reader) -> Drift | None:
        if not _serving(host):
            return Drift("can be seen when Authentik runs", unknown=True)
        present = _list(host, "managed/blueprints/?page_size=100", token)
        instance = next((one for one in present if one["path"] == path), None)
        if instance is None or instance["last_applied_hash"] != digest:
            # it sees new files by itself, often before it is asked
            return Drift("Authentik has not applied it yet", unknown=True)
        if instance["status"] != "successful":
            return Drift(f"its status is {instance['status']}")
        moments = {one["name"]: _moment(one) for one in present}
        later = [found for found in foundations if moments.get(found, _moment(instance)) > _moment(instance)]
        return Drift(f"Authentik applied its own `{later[0]}` after it") if later else None

    def apply(host: Host) -> None:
        _apply_now(host, path)
        for instance in _list(host, f"managed/blueprints/?path={quote(path)}", token):
            # the command leaves the status alone; this asks the worker for it
            _get(host.http.send(_call(f"managed/blueprints/{instance['pk']}/apply/", token, method="POST")))

    return Step(
        name=f"blueprint:{name.removesuffix('.yaml')}", check=check, apply=apply, after=after, deadline=DEADLINE,
        hint=f"`kmuctl logs {WORKER}` shows more; then run `kmuctl up` again", logs=(WORKER,),
    )  # fmt: skip


def _moment(instance: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(instance["last_applied"])


def _apply_now(host: Host, path: str) -> None:
    """The command says what is wrong; beside the worker, which may apply others, it can meet a deadlock."""
    for _ in range(ATTEMPTS):
        answer = host.engine.execute(PROJECT, WORKER, ("ak", "apply_blueprint", path))
        if answer.code == 0:
            return
        if "deadlock detected" not in answer.stderr:
            break
    raise StepFailed(f"Authentik refuses {path.removeprefix('custom/')}: {_refusal(answer.stderr)}")


def outposts_step(token: Secret, *, after: tuple[str, ...]) -> Step:
    """Each outpost is there and connected; without, every protected page and every mailbox is shut."""

    def check(host: Reader) -> Drift | None:
        if not _serving(host):
            return Drift("can be seen when Authentik runs", unknown=True)
        present = {outpost["name"]: outpost["pk"] for outpost in _list(host, "outposts/instances/", token)}
        for name in OUTPOSTS:
            if name not in present:
                return Drift(f"Authentik has no outpost `{name}`")
            if not _get(host.http.ask(_call(f"outposts/instances/{present[name]}/health/", token))):
                return Drift(f"the outpost `{name}` is not connected")
        return None

    return Step(
        name="outposts", check=check, apply=_wait_only, after=after, deadline=OUTPOST_DEADLINE,
        hint="`kmuctl logs authentik-ldap` shows more", logs=("authentik-ldap",),
    )  # fmt: skip


def _wait_only(host: Host) -> None:
    """They connect by themselves: there is nothing to do but to wait."""


def _serving(host: Reader) -> bool:
    facts = host.engine.containers(PROJECT, [SERVER, WORKER])
    return len(facts) == 2 and all(fact.health == "healthy" for fact in facts.values())


def _call(rest: str, token: Secret, *, method: str = "GET") -> Call:
    return Call(container=SERVER, port=PORT, path=f"/api/v3/{rest}", method=method, token=token)


def _list(host: Reader, rest: str, token: Secret) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = _get(host.http.ask(_call(rest, token)))["results"]
    return results


def _get(reply: Reply) -> Any:
    if reply.status in (401, 403):
        raise StepFailed(
            "Authentik refuses `AUTHENTIK_BOOTSTRAP_TOKEN`",
            hint="put the secrets file back from your backup; the token is read only before the first start",
        )
    if reply.status >= 400:
        raise StepFailed(f"Authentik answers {reply.status}: {reply.text[:200]}")
    return reply.json() if reply.text else None


def _refusal(said: str) -> str:
    """What follows the last "Blueprint invalid": the entry and what is wrong with it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = max((index for index, line in enumerate(lines) if line == "Blueprint invalid"), default=-1)
    return " ".join(lines[last + 1 :] or ["it says nothing"])[:500]
