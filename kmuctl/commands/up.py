"""`kmuctl up`: the plan or its execution, and where to go next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from kmuctl.commands.host import host_of
from kmuctl.console import GOES_ON, Console, step_data
from kmuctl.model.errors import ConfigError, KmuError
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations import certs
from kmuctl.operations.caddy import ca_certificate
from kmuctl.operations.lock import journaled, locked
from kmuctl.operations.plan import at_least_once, converge, survey
from kmuctl.operations.preflight import preflight
from kmuctl.operations.program import program_of
from kmuctl.operations.timers import cron_lines, has_systemd
from kmuctl.operations.up import for_one, up
from kmuctl.operations.vault import FILE, open_vault

LOG_LINES = 15


def plan(console: Console, stack: Stack, site: Path, only: str, *, pull: bool) -> dict[str, int]:
    """Show what `up` would do; how many steps are in which state."""
    host = _fit_host(console, stack, only)
    outcomes = survey(_steps(stack, host, site, only, pull=pull), host)
    counts = counts_of(outcomes)
    warnings = _warn(console, outcomes)
    changes = len(outcomes) - counts["ok"]
    shown = [_with_hint(outcome) for outcome in outcomes if console.verbose or outcome.state is not State.OK]
    steps = [step_data(outcome) for outcome in outcomes]
    data = {"changes": changes, "counts": counts, "steps": steps, "warnings": warnings}
    console.result("\n".join([*shown, _summary(counts) if changes else "nothing to change"]), data)
    return counts


def _with_hint(outcome: Outcome) -> str:
    return f"{outcome}\n        hint: {outcome.hint}" if outcome.hint else str(outcome)


def _summary(counts: dict[str, int]) -> str:
    numbers = f"{counts['change']} to change, {counts['ok']} already right"
    if counts["blocked"]:
        numbers += f", {counts['blocked']} to be seen later"
    return f"not ready: {counts['failed']} failed, {numbers}" if counts["failed"] else numbers


def run(
    console: Console, stack: Stack, site: Path, only: str = "", *, pull: bool = False, command: str = "up",
    prepare: Callable[[Host], None] = lambda host: None,
) -> bool:  # fmt: skip
    """Bring the stack up; whether everything holds. `prepare` comes first, when nobody else is at work.

    `command` is what the admin typed, for the journal and for whoever finds us at work.
    """
    console.if_interrupted = GOES_ON
    host = _fit_host(console, stack, only)
    open_vault(stack, host)  # a broken secrets file stops us before anything is written
    folder = stack.folder
    with locked(host, folder, command), journaled(host, folder, command, only=only) as end:
        started = monotonic()
        prepare(host)
        steps = _steps(stack, host, site, only, pull=pull)
        with closing(converge(steps, host)) as events:
            outcomes = console.follow(events, len(steps))
        order = {step.name: index for index, step in enumerate(steps)}
        outcomes.sort(key=lambda outcome: order[outcome.step.name])
        counts = counts_of(outcomes)
        end.update(counts, event="failed" if counts["failed"] else "ended")
    return _report(console, stack, host, outcomes, monotonic() - started, whole=not only)


def _fit_host(console: Console, stack: Stack, only: str) -> Host:
    """The machine, when all is well so far; warnings are shown."""
    if only and only not in stack:
        known = ", ".join(service.name for service in stack.services)
        raise ConfigError(f"--only: no service `{only}` in this site", hint=f"one of: {known}")
    host = host_of(stack)
    for warning in (*preflight(stack, host), *_unused(stack)):
        console.warn(warning)
    return host


def _unused(stack: Stack) -> list[str]:
    given = stack.site.backup.model_fields_set
    return ["[backup] in the site file is not used by this version yet: nothing is backed up"] if given else []


def _steps(stack: Stack, host: Host, site: Path, only: str, *, pull: bool) -> list[Step]:
    steps = [*up(stack, open_vault(stack, host), site.read_bytes())]
    if only:
        steps = for_one(stack[only], steps)
    return [at_least_once(step, "to fetch again") if pull and _is_download(step) else step for step in steps]


def _is_download(step: Step) -> bool:
    """Images of our own are built here: no registry has them."""
    return step.name.startswith("image:") and not step.name.startswith("image:kmuctl-")


def counts_of(outcomes: list[Outcome]) -> dict[str, int]:
    return {state.value: sum(outcome.state is state for outcome in outcomes) for state in State}


def _report(
    console: Console, stack: Stack, host: Host, outcomes: list[Outcome], seconds: float, *, whole: bool
) -> bool:
    counts = counts_of(outcomes)
    failed = [outcome for outcome in outcomes if outcome.state is State.FAILED]
    if not console.as_json:
        show_failures(console, stack, host, failed)
    own = _warnings(stack, host) if whole and not failed else []
    for warning in own:
        console.warn(warning)
    if stopped := _stopped_mail(stack, host):
        console.warn(stopped)
    warnings = [*_warn(console, outcomes), *own, *filter(None, [stopped])]
    lines = [_verdict(counts, seconds)]
    if counts["change"] and whole and not failed:
        lines += _where_to_go(stack)
    if not whole:
        lines.append("Settings inside the services are left to a `kmuctl up` without --only.")
    data: dict[str, Any] = {
        "ok": not failed, "seconds": round(seconds, 1), "counts": counts,
        "steps": [step_data(outcome) for outcome in outcomes if outcome.state is not State.OK],
        "warnings": warnings, "urls": [app["url"] for app in stack.apps()],
    }  # fmt: skip
    console.result("\n".join(lines), data)
    return not failed


def _stopped_mail(stack: Stack, host: Host) -> str:
    """What nobody would notice before the first complaint."""
    with suppress(KmuError):
        fact = host.engine.containers(stack.project, ["stalwart"]).get("stalwart")
        if fact is not None and fact.state != "running" and "stalwart" in stack:
            return "mail is stopped: other servers keep theirs for days; it starts when `kmuctl up` succeeds"
    return ""


def _warnings(stack: Stack, host: Host) -> list[str]:
    """What is left for the admin, although every step holds."""
    found = [*certs.missing(stack, host), *certs.faults(stack, host)]
    if not has_systemd(host):
        lines = " and ".join(f"`{line}`" for line in cron_lines(stack, program_of(stack)))
        found.append(f"no systemd here, so nothing renews the certificates of mail and calls: have cron run {lines}")
    return found


def _warn(console: Console, outcomes: list[Outcome]) -> list[str]:
    """What is not as wished, and no reason to fail."""
    warnings = [outcome.warning for outcome in outcomes if outcome.warning]
    if not console.as_json:
        for warning in warnings:
            console.warn(warning)
    return warnings


def _verdict(counts: dict[str, int], seconds: float) -> str:
    if counts["failed"]:
        numbers = f"{counts['failed']} failed, {counts['blocked']} wait for them, {counts['change']} changed"
        return f"not done: {numbers}; the next `kmuctl up` goes on from here"
    if counts["change"]:
        return f"done: {counts['change']} changed, {counts['ok']} were already right, {seconds:.0f} s"
    return f"nothing changed: all {counts['ok']} steps were already right ({seconds:.1f} s)"


def show_failures(console: Console, stack: Stack, host: Host, failed: list[Outcome]) -> None:
    for outcome in failed:
        console.note(f"\nfailed  {outcome.step.name}: {outcome.cause}")
        for container in outcome.step.logs:
            lines = _last_lines(stack, host, container)
            console.note("\n".join([f"the last log lines of {container}:", *(f"    {line}" for line in lines)]))
        if outcome.hint:
            console.note(f"hint: {outcome.hint}")


def _last_lines(stack: Stack, host: Host, container: str) -> list[str]:
    """No lines when the engine went away meanwhile: the report is worth more than its logs."""
    with suppress(KmuError):
        return host.engine.logs(stack.project, container, LOG_LINES).rstrip().splitlines()
    return []


def _where_to_go(stack: Stack) -> list[str]:
    site = stack.site
    lines = ["", "Open:", f"  {site.base_url}/  (start page)"]
    lines += [f"  {app['url']}  ({app['text']})" for app in stack.apps()]
    lines += [f"  {site.url('auth')}/if/admin/  (people and sign-on, administration)", ""]
    secrets = f"{site.host.folder}/{FILE}"
    lines.append(f"First sign-in: `kmuctl login-link` lets `{site.admin.username}` in, to choose a password")
    if site.tls.mode == "internal":
        lines.append(f"Certificate to trust in the browser: {ca_certificate(stack)}")
    lines.append(f"Keep a copy of `{secrets}` off this machine: without it the data cannot be read.")
    return lines
