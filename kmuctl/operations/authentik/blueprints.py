"""Our blueprints: rendered files that Authentik's worker finds by itself, and applies when it is told to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha512
from time import sleep
from urllib.parse import quote

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import PROJECT
from kmuctl.model.step import Drift, Step
from kmuctl.operations.authentik.api import WORKER, Api, Row, not_serving
from kmuctl.operations.render import Rendered

FOLDER = "blueprints/"
DEADLINE = 180
"""Seconds from the request to a good status: the worker may have other things to do first."""
ATTEMPTS, LIMIT = 3, 600
"""Of a command or request that meets a busy worker, and the seconds that a command may take."""
PAUSE = 2.0
"""Seconds between two attempts."""
TIMED_OUT = 124
"""How timeout(1) says that it ended a command."""
ENTRY = re.compile(
    r"Entry invalid: (?P<why>.*?): \{'entry': \{'model': '(?P<model>[^']+)'.*?'identifiers': (?P<which>.*?), 'attrs'"
)
FIELD = re.compile(r"""'(\w+)': \[ErrorDetail\(string=(['"])(.*?)\2, code=""")
EXCEPTION = re.compile(r"^[\w.]+: ", re.MULTILINE)
"""What the command says of an entry, of a property of it, and when it crashes (seen in 2026.8.0)."""
LENGTH = 500
BUSY = f"it is very busy, or waits for the database: `kmuctl logs {WORKER}`; then run `kmuctl up` again"
FOUNDATION = re.compile(r"\{name: (Default|System) - ")
"""In a blueprint that applies some of Authentik's own first."""


def own_blueprints(rendered: Rendered) -> dict[str, bytes]:
    """Content by name, in the order of their names."""
    paths = (path for path in sorted(rendered.files) if path.startswith(FOLDER))
    return {path.removeprefix(FOLDER).removesuffix(".yaml"): rendered.files[path].content for path in paths}


def blueprint_steps(own: Mapping[str, bytes], api: Api, *, after: tuple[str, ...]) -> Iterator[Step]:
    for name, content in own.items():
        step = blueprint_step(name, content, api, after=after)
        yield step
        after = (*after, step.name)


def blueprint_step(name: str, content: bytes, api: Api, *, after: tuple[str, ...]) -> Step:
    """Authentik has applied this very content (upstream/authentik.md 2, "Status"), in the version that runs."""
    digest = sha512(content).hexdigest()
    founded = FOUNDATION.search(content.decode()) is not None

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        instance = next(iter(_instances(api, host, name)), None)
        if instance is None or instance["last_applied_hash"] != digest:
            # it sees new files by itself, often before it is asked
            return Drift("Authentik has not applied it yet", unknown=True)
        if instance["status"] != "successful":
            return Drift(f"its status is {instance['status']}")
        if not instance["enabled"]:
            return Drift("somebody switched it off: Authentik would not apply it any more")
        if founded and _moment(instance["last_applied"]) < (updated := _updated(api, host))[0] <= datetime.now(UTC):
            # an update of tomorrow, because the clock was set back, must not have it applied for ever
            return Drift(f"Authentik was updated to {updated[1]} after it")
        return None

    def apply(host: Host) -> None:
        apply_now(host, name)
        for instance in _instances(api, host, name):
            if not instance["enabled"]:
                switch(api, host, instance, on=True)
            # the command leaves the status alone; this asks the worker for it
            api.send(host, "POST", f"managed/blueprints/{instance['pk']}/apply/")

    return Step(
        name=f"blueprint:{name}", check=check, apply=apply, after=after, deadline=DEADLINE,
        hint=f"`kmuctl logs {WORKER}` shows more; then run `kmuctl up` again", logs=(WORKER,),
    )  # fmt: skip


def _instances(api: Api, host: Reader, name: str) -> list[Row]:
    return api.rows(host, f"managed/blueprints/?path={quote(_path(name))}")


def switch(api: Api, host: Host, instance: Row, *, on: bool) -> None:
    """The server asks the worker whether the path exists, and refuses oddly (405) when it has no time to answer."""
    change = {"enabled": on, "path": instance["path"]}
    for left in reversed(range(ATTEMPTS)):
        try:
            api.send(host, "PATCH", f"managed/blueprints/{instance['pk']}/", change)
            return
        except StepFailed:
            if not left:
                raise
            sleep(PAUSE)


def _updated(api: Api, host: Reader) -> tuple[datetime, str]:
    """When the version that runs came, by Authentik's own clock, and which it is."""
    rows = api.get(host, "admin/version/history/")
    try:
        return max((_moment(row["timestamp"]), row["version"]) for row in rows)
    except (ValueError, TypeError, LookupError):
        raise StepFailed(f"Authentik's list of its versions says something unexpected: {str(rows)[:200]}") from None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _path(name: str) -> str:
    return f"custom/{name}.yaml"


def pending(own: Mapping[str, bytes], api: Api, host: Reader) -> list[str]:
    """Which of ours Authentik has not applied as they stand."""
    applied = {row["path"]: row["last_applied_hash"] for row in api.rows(host, "managed/blueprints/")}
    return [name for name, content in own.items() if applied.get(_path(name)) != sha512(content).hexdigest()]


def apply_now(host: Host, name: str) -> None:
    """The command says what is wrong; beside the worker, which may apply others, it can meet a deadlock."""
    for _ in range(ATTEMPTS):
        answer = host.engine.execute(PROJECT, WORKER, ("timeout", str(LIMIT), "ak", "apply_blueprint", _path(name)))
        if answer.code == 0:
            return
        if "deadlock detected" not in answer.stderr:
            break
    if answer.code == TIMED_OUT:
        raise StepFailed(f"Authentik did not finish {name}.yaml within {LIMIT // 60} minutes", hint=BUSY)
    raise StepFailed(f"Authentik refuses {name}.yaml: {_refusal(answer.stderr)}")


def _refusal(said: str) -> str:
    """Which entry, and what is wrong with it. Not its values, which may be secret. A crash speaks at its end."""
    if entries := [*ENTRY.finditer(said)]:
        last = entries[-1]
        why = "; ".join(f"{field}: {words}" for field, _, words in FIELD.findall(last["why"])) or last["why"]
        return f"{last['model']} {last['which']}: {why}"[:LENGTH]
    end = max((found.start() for found in EXCEPTION.finditer(said)), default=0)
    return " ".join(said[end:].split())[-LENGTH:] or "it says nothing"
