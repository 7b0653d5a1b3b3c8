"""`kmuctl up`: the plan or its execution, and where to go next."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

from kmuctl.console import Console, step_data
from kmuctl.drivers.local import LocalHost
from kmuctl.model.errors import ConfigError, HostError
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations.init import ca_certificate
from kmuctl.operations.lock import locked, note
from kmuctl.operations.plan import converge, survey, with_predecessors
from kmuctl.operations.preflight import preflight
from kmuctl.operations.up import up
from kmuctl.operations.vault import FILE, open_vault

LOG_LINES = 15


def _host(stack: Stack) -> LocalHost:
    if stack.site.host.address != "local":
        raise HostError(
            f"host.address is `{stack.site.host.address}`: this version works on its own machine only",
            hint='run kmuctl on the server itself, with `address = "local"`',
        )
    return LocalHost()


def _steps(stack: Stack, host: Host, site: Path, only: str) -> list[Step]:
    steps = [*up(stack, open_vault(stack, host), site.read_bytes())]
    if not only:
        return steps
    return with_predecessors(steps, {f"container:{container.name}" for container in stack[only].containers})


def _require_known(stack: Stack, only: str) -> None:
    if only and only not in stack:
        known = ", ".join(service.name for service in stack.services)
        raise ConfigError(f"--only: no service `{only}` in this site", hint=f"one of: {known}")


def plan(console: Console, stack: Stack, site: Path, only: str) -> bool:
    """Show what `up` would do; whether that is anything."""
    _require_known(stack, only)
    host = _host(stack)
    for warning in preflight(stack, host):
        console.warn(warning)
    outcomes = survey(_steps(stack, host, site, only), host)
    shown = [outcome for outcome in outcomes if console.verbose or outcome.state is not State.OK]
    counts = _counts(outcomes)
    changes = len(outcomes) - counts["ok"]
    numbers = [f"{counts['change']} to change", f"{counts['ok']} already right"]
    if later := counts["blocked"] + counts["failed"]:
        numbers.append(f"{later} to be seen later")
    text = "\n".join([*map(str, shown), ", ".join(numbers) if changes else "nothing to change"])
    console.result(text, {"changes": changes, "counts": counts, "steps": [step_data(outcome) for outcome in outcomes]})
    return changes > 0


def run(console: Console, stack: Stack, site: Path, only: str, *, pull: bool) -> bool:
    """Bring the stack up; whether everything holds."""
    _require_known(stack, only)
    host = _host(stack)
    for warning in preflight(stack, host):
        console.warn(warning)
    open_vault(stack, host)  # a broken secrets file stops us before anything is written
    folder = stack.site.host.folder
    with locked(host, folder, "up"):
        started = monotonic()
        note(host, folder, {"command": "up", "event": "started", "only": only})
        steps = _steps(stack, host, site, only)
        if pull:
            _pull(console, host, steps)
        outcomes = console.follow(converge(steps, host), len(steps))
        order = {step.name: index for index, step in enumerate(steps)}
        outcomes.sort(key=lambda outcome: order[outcome.step.name])
        seconds = monotonic() - started
        note(host, folder, {"command": "up", "event": "ended", "seconds": round(seconds, 1), **_counts(outcomes)})
    return _report(console, stack, host, outcomes, seconds, whole=not only)


def _pull(console: Console, host: Host, steps: list[Step]) -> None:
    for step in steps:
        kind, _, reference = step.name.partition(":")
        if kind == "image" and not reference.startswith("kmuctl-"):
            console.note(f"pull    {reference}")
            host.engine.pull(reference)


def _counts(outcomes: list[Outcome]) -> dict[str, int]:
    return {state.value: sum(outcome.state is state for outcome in outcomes) for state in State}


def _report(
    console: Console, stack: Stack, host: Host, outcomes: list[Outcome], seconds: float, *, whole: bool
) -> bool:
    counts = _counts(outcomes)
    failed = [outcome for outcome in outcomes if outcome.state is State.FAILED]
    fine = not failed
    data: dict[str, Any] = {
        "ok": fine, "seconds": round(seconds, 1), "counts": counts,
        "steps": [step_data(outcome) for outcome in outcomes if outcome.state is not State.OK],
        "urls": [app["url"] for app in stack.apps()],
    }  # fmt: skip
    if failed:
        _show_failures(console, stack, host, failed)
        numbers = f"{counts['failed']} failed, {counts['blocked']} wait for them, {counts['change']} changed"
        text = f"not done: {numbers}; the next `kmuctl up` goes on from here"
    elif counts["change"]:
        text = f"done: {counts['change']} changed, {counts['ok']} were already right, {seconds:.0f} s"
        text = "\n".join([text, *_where_to_go(stack)]) if whole else text
    else:
        text = f"nothing changed: all {counts['ok']} steps were already right ({seconds:.1f} s)"
    console.result(text, data)
    return fine


def _show_failures(console: Console, stack: Stack, host: Host, failed: list[Outcome]) -> None:
    for outcome in failed:
        if console.as_json:
            return
        console.note(f"\nfailed  {outcome.step.name}: {outcome.cause}")
        for container in outcome.step.logs:
            lines = host.engine.logs(stack.project, container, LOG_LINES).rstrip()
            console.note(
                f"the last log lines of {container}:\n" + "\n".join(f"    {line}" for line in lines.splitlines())
            )
        if outcome.hint:
            console.note(f"hint: {outcome.hint}")


def _where_to_go(stack: Stack) -> list[str]:
    site = stack.site
    lines = ["", "Open:", f"  {site.base_url}/  (start page)"]
    lines += [f"  {app['url']}  ({app['text']})" for app in stack.apps()]
    lines += [f"  {site.url('auth')}/if/admin/  (people and sign-on, administration)", ""]
    secrets = f"{site.host.folder}/{FILE}"
    lines.append(f"First sign-in: `{site.admin.username}`, password: `sudo grep AUTHENTIK_ADMIN_PASSWORD {secrets}`")
    if site.tls.mode == "internal":
        lines.append(f"Certificate to trust in the browser: {ca_certificate(stack)}")
    lines.append(f"Keep a copy of `{secrets}` off this machine: without it the data cannot be read.")
    return lines
