"""Authentik's own blueprints and ours set some of the same values: here its automatic runs of them are switched off.

On a new database its worker applies every blueprint twice, in any order, for up to two minutes; after an update it
applies what has changed. Ours name the ones below and so apply them first, whether they are switched off or not.
"""

from __future__ import annotations

from time import sleep

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step
from kmuctl.operations.authentik.api import WORKER, Api, Row, not_serving
from kmuctl.operations.authentik.blueprints import switch

COLLIDING = (
    "default/default-brand.yaml",
    "default/flow-default-authentication-flow.yaml",
    "default/flow-password-change.yaml",
)
"""The last sets what ours does; the others apply it."""
UNFINISHED = "".join(
    f"&aggregated_status={status}" for status in ("queued", "consumed", "preprocess", "running", "postprocess")
)
TASKS = f"tasks/tasks/?actor_name=authentik.blueprints.v1.tasks.apply_blueprint{UNFINISHED}"
PAUSE, PATIENCE = 2.0, 150
"""Seconds between two looks, and how many: a first start takes minutes on a slow machine."""


def upstream_step(api: Api, *, after: tuple[str, ...]) -> Step:
    """The worker has nothing left to apply, and will not undo what ours say."""

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        if unrest := _unrest(api, host):
            return Drift(unrest, unknown=True)
        automatic = [row["name"] for row in _colliding(api, host) if row["enabled"]]
        return Drift(f"Authentik may apply its own `{automatic[0]}` over ours") if automatic else None

    def apply(host: Host) -> None:
        _wait_for_rest(api, host)
        for row in _colliding(api, host):
            if row["enabled"]:
                switch(api, host, row, on=False)

    return Step(
        name="authentik:defaults", check=check, apply=apply, after=after, deadline=60,
        hint=f"`kmuctl logs {WORKER}` shows what it does; then run `kmuctl up` again", logs=(WORKER,),
    )  # fmt: skip


def _colliding(api: Api, host: Reader) -> list[Row]:
    return [row for row in api.rows(host, "managed/blueprints/") if row["path"] in COLLIDING]


def _unrest(api: Api, host: Reader) -> str:
    """Authentik knows them since its migrations, long before its worker applies them for the first time."""
    statuses = {row["status"] for row in _colliding(api, host)}
    if not statuses or "unknown" in statuses:
        return "Authentik is setting itself up"
    # one that failed is tried again later, and later still: nobody waits for that
    busy = [task for task in api.rows(host, TASKS) if not task["retries"]]
    return "Authentik is applying its blueprints" if busy else ""


def _wait_for_rest(api: Api, host: Host) -> None:
    """Before, not after: a busy worker cannot answer for the path, which is part of the change."""
    for _ in range(PATIENCE):
        if not (unrest := _unrest(api, host)):
            return
        sleep(PAUSE)
    raise StepFailed(f"{unrest}, for {PATIENCE * PAUSE / 60:.0f} minutes now")
