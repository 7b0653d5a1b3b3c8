"""What a command that follows a plan says: the plan, its failures, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress

from kmuctl.console import Console, step_data
from kmuctl.model.errors import KmuError
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations.plan import WORKERS, converge

LOG_LINES = 15


def show_plan(console: Console, outcomes: list[Outcome]) -> dict[str, int]:
    """What a survey found; how many steps are in which state."""
    counts = counts_of(outcomes)
    warnings = warn(console, outcomes)
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


def follow(console: Console, steps: Sequence[Step], host: Host, *, workers: int = WORKERS) -> list[Outcome]:
    """Do it, and show how it goes; outcomes in the order of the steps."""
    with closing(converge(steps, host, workers=workers)) as events:
        outcomes = console.follow(events, len(steps))
    order = {step.name: index for index, step in enumerate(steps)}
    return sorted(outcomes, key=lambda outcome: order[outcome.step.name])


def counts_of(outcomes: list[Outcome]) -> dict[str, int]:
    return {state.value: sum(outcome.state is state for outcome in outcomes) for state in State}


def warn(console: Console, outcomes: list[Outcome]) -> list[str]:
    """What is not as wished, and no reason to fail."""
    warnings = [outcome.warning for outcome in outcomes if outcome.warning]
    if not console.as_json:
        for warning in warnings:
            console.warn(warning)
    return warnings


def verdict(counts: dict[str, int], seconds: float, command: str) -> str:
    if counts["failed"]:
        numbers = f"{counts['failed']} failed, {counts['blocked']} wait for them, {counts['change']} changed"
        return f"not done: {numbers}; the next `kmuctl {command}` goes on from here"
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
