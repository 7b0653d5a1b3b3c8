"""Nextcloud's apps: those of the site file from the app store, one by one, so that one cannot spoil the others."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from time import time
from typing import Any

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step
from kmuctl.operations.nextcloud.occ import (
    CONTAINER,
    ask,
    change,
    execute,
    json_of,
    look,
    not_serving,
    occ,
    reason,
    status,
)

SIGN_ON = "user_oidc"
UNWANTED = "app_api"
"""On by default, and an error among Nextcloud's own checks without a Docker socket, which it must not have."""
STORE = "https://apps.nextcloud.com/api/v1/apps.json"
PROBE = ("curl", "-fsS", "-o", "/dev/null", "-m", "5", "-I", STORE)
DAY = 86400
FAILURE = ("settings", "appstore-fetcher-lastFailure")
"""When Nextcloud did not reach the store; for five minutes it does not ask again."""
NOTES = ("kmuctl", "apps")
"""Our own notes on failed attempts, kept as an app value of Nextcloud."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that failed: when, with which Nextcloud, and why."""

    at: int
    version: str
    why: str
    unreachable: bool = False


Attempts = dict[str, Attempt]


def apps_step(wanted: Iterable[str], *, after: tuple[str, ...]) -> Step:
    """Every app that can be had is there. One that cannot is told each time, and tried again when there is hope.

    Sign-on is the exception: without it nobody comes in, so its failure is one of the step.
    """
    apps = tuple(dict.fromkeys((SIGN_ON, *wanted)))

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        enabled = _enabled(host)
        missing = [app for app in apps if app not in enabled]
        failed = _attempts(host) if missing else {}
        to_do = [f"to install: {', '.join(hopeful)}"] if (hopeful := _hopeful(host, missing, failed)) else []
        to_do += [f"to switch off: {UNWANTED}"] if UNWANTED in enabled else []
        if to_do:
            return Drift("; ".join(to_do))
        return Drift(_lacking(missing, failed), tolerable=True) if missing else None

    def apply(host: Host) -> None:
        enabled = _enabled(host)
        if UNWANTED in enabled:
            change(host, occ("app:disable", UNWANTED))
        missing = [app for app in apps if app not in enabled]
        if missing:
            _install(host, missing)

    return Step(
        name="nextcloud:apps", check=check, apply=apply, after=after, logs=(CONTAINER,),
        hint=f"without a way to the app store: unpack the release of `{SIGN_ON}` into custom_apps of Nextcloud's data "
        "(owner 33), then `kmuctl up` again",
    )  # fmt: skip


def _enabled(host: Reader) -> set[str]:
    return set(json_of(look(host, occ("app:list", "--output=json")))["enabled"])


def _hopeful(host: Reader, missing: list[str], failed: Attempts) -> list[str]:
    """Those that an attempt may bring: not tried yet, or something changed since."""
    if not missing:
        return []
    version, now = _version(host), time()
    reachable = not any(attempt.unreachable for attempt in failed.values()) or _reachable(host)
    return [app for app in missing if app == SIGN_ON or _hope(failed.get(app), version, now, reachable)]


def _hope(attempt: Attempt | None, version: str, now: float, reachable: bool) -> bool:
    if attempt is None or attempt.version != version:
        return True
    # a clock that was set back must not make us wait for ever
    return reachable if attempt.unreachable else not attempt.at <= now < attempt.at + DAY


def _reachable(host: Reader) -> bool:
    return ask(host, PROBE).code == 0


def _version(host: Reader) -> str:
    state = status(host)
    return "" if isinstance(state, Drift) else str(state["versionstring"])


def _install(host: Host, missing: list[str]) -> None:
    before = _attempts(host)
    todo = _hopeful(host, missing, before)
    if any(attempt.unreachable for attempt in before.values()):
        change(host, occ("config:app:delete", *FAILURE))
    refusals = {app: why for app in todo if (why := _enable(host, app))}
    enabled = _enabled(host)
    for app in (ghost for ghost in todo if ghost not in refusals and ghost not in enabled):
        # its folder is gone, and Nextcloud believes that it is there
        change(host, occ("app:disable", app))
        if why := _enable(host, app):
            refusals[app] = why
    _remember(host, before, todo, refusals)
    if SIGN_ON in refusals:
        raise StepFailed(f"nobody can sign in without Nextcloud's app `{SIGN_ON}`: {refusals[SIGN_ON]}")


def _enable(host: Host, app: str) -> str:
    """Download, unpack, switch on; why it failed."""
    answer = execute(host, occ("app:enable", app))
    return reason(answer) if answer.code else ""


def _remember(host: Host, before: Attempts, tried: list[str], refusals: dict[str, str]) -> None:
    unreachable = bool(refusals) and ask(host, occ("config:app:get", *FAILURE)).code == 0
    version, now = _version(host), int(time())
    after = {app: attempt for app, attempt in before.items() if app not in tried}
    after |= {app: Attempt(now, version, why, unreachable) for app, why in refusals.items() if app != SIGN_ON}
    if after != before:
        notes = json.dumps({app: asdict(attempt) for app, attempt in after.items()}, sort_keys=True)
        change(host, occ("config:app:set", *NOTES, f"--value={notes}"))


def _attempts(host: Reader) -> Attempts:
    answer = ask(host, occ("config:app:get", *NOTES))
    try:
        found: dict[str, Any] = json.loads(answer.stdout) if answer.code == 0 else {}
        return {app: Attempt(**attempt) for app, attempt in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # edited by hand: forgotten, so that all are tried again


def _lacking(missing: list[str], failed: Attempts) -> str:
    cut_off = [app for app in missing if failed[app].unreachable]
    parts = [f"`{app}`: {failed[app].why}" for app in missing if app not in cut_off]
    if cut_off:
        parts.append(f"{', '.join(cut_off)}: the app store cannot be reached from the container")
    hint = f"it is tried again by later runs; now: `kmuctl occ app:enable {missing[0]}`"
    return f"Nextcloud lacks apps of [nextcloud] in the site file ({'; '.join(parts)}); {hint}"
