"""`kmuctl harden`: the plan or its execution, and the confirmation of what could have locked the admin out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from time import monotonic

from kmuctl.commands.host import host_of
from kmuctl.commands.report import counts_of, follow, show_failures, show_plan, verdict, warn
from kmuctl.console import Console, step_data
from kmuctl.model.errors import ConfigError, LinkLost
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations.harden import confirmation, harden, undo
from kmuctl.operations.harden.preflight import examine, preflight
from kmuctl.operations.lock import journaled, locked
from kmuctl.operations.plan import survey

IF_INTERRUPTED = "an unconfirmed change of SSH or firewall is undone by itself; the same command goes on from here"
ONE_BY_ONE = 1
"""apt lets only one in, and a firewall had better not change while sshd does."""
SOURCES = ("docker", "distro")


def with_source(stack: Stack, source: str) -> Stack:
    """The site file's word, or that of the command line."""
    if not source:
        return stack
    if source not in SOURCES:
        raise ConfigError(f"--docker-source: `{source}` is unknown", hint=" or ".join(f"`{name}`" for name in SOURCES))
    wanted = stack.site.harden.model_copy(update={"docker_source": source})
    return replace(stack, site=stack.site.model_copy(update={"harden": wanted}))


def plan(console: Console, stack: Stack, *, force: bool) -> dict[str, int]:
    """Show what `harden` would do; how many steps are in which state."""
    host = host_of(stack)
    return show_plan(console, survey(_steps(console, stack, host, force=force), host))


def run(console: Console, stack: Stack, *, force: bool) -> bool:
    """Harden the machine; whether everything holds."""
    console.if_interrupted = IF_INTERRUPTED
    host = host_of(stack)
    steps = _steps(console, stack, host, force=force)
    with locked(host, stack.folder, "harden"), journaled(host, stack.folder, "harden") as end:
        undo.forget(host)
        started = monotonic()
        outcomes = follow(console, steps, host, workers=ONE_BY_ONE)
        counts = counts_of(outcomes)
        with suppress(LinkLost):
            _warn_of_waiting(console, host)
        end.update(counts, event="failed" if counts["failed"] else "ended")
    return _report(console, stack, host, outcomes, monotonic() - started)


def confirm(console: Console, stack: Stack) -> None:
    """Without the lock: a `harden` that waits for this holds it."""
    confirmed = confirmation.confirm_all(host_of(stack))
    said = f"confirmed: {' and '.join(confirmed)}" if confirmed else "nothing waits for a confirmation"
    console.result(said, {"confirmed": confirmed})


def _warn_of_waiting(console: Console, host: Host) -> None:
    """Nobody asked for the confirmation of one part where the other one failed."""
    if names := confirmation.waiting(host):
        console.warn(f"{' and '.join(names)} not confirmed yet: {confirmation.CONFIRM}")


def _steps(console: Console, stack: Stack, host: Host, *, force: bool) -> list[Step]:
    machine = examine(host)
    for warning in preflight(stack, host, machine, force=force):
        console.warn(warning)
    return [*harden(stack, machine)]


def _report(console: Console, stack: Stack, host: Host, outcomes: list[Outcome], seconds: float) -> bool:
    counts = counts_of(outcomes)
    failed = [outcome for outcome in outcomes if outcome.state is State.FAILED]
    if not console.as_json:
        show_failures(console, stack, host, failed)
    lines = [verdict(counts, seconds, "harden")]
    if counts["change"] and not failed:
        lines.append("Next: `kmuctl up`")
    data = {
        "ok": not failed, "seconds": round(seconds, 1), "counts": counts, "warnings": warn(console, outcomes),
        "steps": [step_data(outcome) for outcome in outcomes if outcome.state is not State.OK],
    }  # fmt: skip
    console.result("\n".join(lines), data)
    return not failed
