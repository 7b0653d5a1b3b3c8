"""`kmuctl certs sync`: quiet at night, when there is nothing to do."""

from __future__ import annotations

from contextlib import closing

from kmuctl.commands.host import host_of
from kmuctl.commands.report import counts_of, show_failures
from kmuctl.console import GOES_ON, Console, step_data
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.model.step import Outcome, State
from kmuctl.operations.caddy import CADDY
from kmuctl.operations.certs import consumers, faults, missing, sync_steps
from kmuctl.operations.lock import journaled, locked
from kmuctl.operations.plan import converge, survey
from kmuctl.operations.preflight import refuse_other_site


def run(console: Console, stack: Stack) -> bool:
    """Whether mail and calls serve what they should; a certificate that nobody has yet is a warning."""
    host = host_of(stack)
    refuse_other_site(stack, host)
    fact = host.engine.containers(stack.project, [CADDY]).get(CADDY)
    if fact is None or fact.state != "running":
        console.result("nothing to do: the stack is stopped", {"ok": True, "steps": [], "warnings": []})
        return True
    console.if_interrupted = GOES_ON
    with locked(host, stack.folder, "certs sync"):
        outcomes = _synchronize(console, stack, host)
    return _report(console, stack, host, outcomes)


def _synchronize(console: Console, stack: Stack, host: Host) -> list[Outcome]:
    """The journal hears of it only when there is something to do: every hour nothing would hide the rest."""
    steps = sync_steps(stack)
    seen = survey(steps, host)
    if all(outcome.state is State.OK for outcome in seen):
        return seen
    with journaled(host, stack.folder, "certs sync") as end:
        with closing(converge(steps, host)) as events:
            outcomes = console.follow(events, len(steps))
        counts = counts_of(outcomes)
        end.update(counts, event="failed" if counts["failed"] else "ended")
    return outcomes


def _report(console: Console, stack: Stack, host: Host, outcomes: list[Outcome]) -> bool:
    failed = [outcome for outcome in outcomes if outcome.state is State.FAILED]
    if not console.as_json:
        show_failures(console, stack, host, failed)
    wrong, warnings = faults(stack, host), missing(stack, host)
    for text in (*wrong, *warnings):
        console.warn(text)
    ok = not failed and not wrong
    changes = [step_data(outcome) for outcome in outcomes if outcome.state is not State.OK]
    data = {"ok": ok, "steps": changes, "warnings": [*wrong, *warnings]}
    console.result(_verdict(stack, outcomes, ok=ok), data)
    return ok


def _verdict(stack: Stack, outcomes: list[Outcome], *, ok: bool) -> str:
    if not ok:
        return "not done: `kmuctl certs sync` goes on from here"
    names = " and ".join(consumer.name(stack) for consumer in consumers(stack)) or "nobody"
    changed = any(outcome.state is State.CHANGE for outcome in outcomes)
    return f"{'handed on' if changed else 'nothing changed'}: certificates of {names}"
