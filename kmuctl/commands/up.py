"""`kmuctl up`: the plan or its execution, and where to go next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from kmuctl.commands.host import host_of
from kmuctl.commands.report import counts_of, follow, show_failures, show_plan, verdict, warn
from kmuctl.console import GOES_ON, Console, step_data
from kmuctl.model.errors import ConfigError, KmuError
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations import certs
from kmuctl.operations.caddy import ca_certificate
from kmuctl.operations.lock import journaled, locked
from kmuctl.operations.plan import at_least_once, survey
from kmuctl.operations.preflight import preflight
from kmuctl.operations.program import program_of
from kmuctl.operations.timers import cron_lines, has_systemd
from kmuctl.operations.up import for_one, up
from kmuctl.operations.vault import FILE, open_vault


def plan(console: Console, stack: Stack, site: Path, only: str, *, pull: bool) -> dict[str, int]:
    """Show what `up` would do; how many steps are in which state."""
    host = _fit_host(console, stack, only)
    return show_plan(console, survey(_steps(stack, host, site, only, pull=pull), host))


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
        outcomes = follow(console, _steps(stack, host, site, only, pull=pull), host)
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
    warnings = [*warn(console, outcomes), *own, *filter(None, [stopped])]
    lines = [verdict(counts, seconds, "up")]
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
