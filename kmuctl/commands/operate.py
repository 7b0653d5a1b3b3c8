"""`kmuctl down`, `status`, `logs`, `exec`, `occ`, `stalwart-cli`, `login-link`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from kmuctl.commands.host import host_of
from kmuctl.console import GOES_ON, Console
from kmuctl.model.errors import ConfigError, HostError
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.operations.down import down, purge, purgeable
from kmuctl.operations.lock import journaled, locked
from kmuctl.operations.login import MINUTES, login_link, require_worker
from kmuctl.operations.preflight import refuse_other_site
from kmuctl.operations.stalwart import tool
from kmuctl.operations.stalwart.registry import CONTAINER, known_key
from kmuctl.operations.status import status
from kmuctl.operations.timers import LastRun, last_runs


def stop(console: Console, stack: Stack, *, purge_too: bool, yes: bool) -> None:
    host = _own_host(stack)
    folder = stack.folder
    if purge_too:
        _consent(console, stack, host, yes=yes)
    console.if_interrupted = GOES_ON
    with locked(host, folder, "down"):
        with journaled(host, folder, "down", purge=purge_too) as end:
            removed = down(stack, host)
            end.update(event="ended", containers=len(removed))
        paths = purge(stack, host) if purge_too else []  # the journal goes with the rest
    kept = "" if purge_too else f"; data stays in `{folder}/data`"
    text = f"stopped: {len(removed)} containers{kept}" + "".join(f"\nremoved: {path}" for path in paths)
    console.result(text, {"containers": removed, "removed": paths})


def _consent(console: Console, stack: Stack, host: Host, *, yes: bool) -> None:
    """Name what is lost, and have the domain typed."""
    console.if_interrupted = "nothing was removed"
    paths = purgeable(stack, host)
    if yes or not paths:
        return
    if not console.interactive:
        raise ConfigError("--purge removes all data for good", hint="add --yes if that is what you want")
    console.note("This removes for good, with no way back but a backup:\n" + "\n".join(f"  {path}" for path in paths))
    question = f"Type the domain ({stack.site.display_domain}) to go on"
    typed = typer.prompt(question, default="", show_default=False, err=True)
    if typed not in (stack.site.domain, stack.site.display_domain):
        raise ConfigError("that is not the domain: nothing was removed")


def show_status(console: Console, stack: Stack) -> bool:
    host = _own_host(stack)
    lines, timers = status(stack, host), last_runs(host)
    bad = sum(not line.fine for line in lines)
    fine = not bad and all(timer.fine for timer in timers)
    if console.as_json:
        containers = [asdict(line) for line in lines]
        console.result("", {"ok": fine, "containers": containers, "timers": [_timer_data(timer) for timer in timers]})
        return fine
    console.table(["container", "state", "image"], [(line.container, line.state, line.image) for line in lines])
    if timers:
        console.table(["timer", "last run", "result"], [_timer_row(timer) for timer in timers])
    well = f"{bad} of {len(lines)} containers are not well" if bad else f"all {len(lines)} containers are healthy"
    failed = [timer.timer for timer in timers if not timer.fine]
    console.result(well + "".join(f"\n{name} is not well: `journalctl -u {name}` says more" for name in failed), {})
    return fine


def _timer_data(run: LastRun) -> dict[str, Any]:
    moment = datetime.fromtimestamp(run.ended, UTC).isoformat() if run.ended else None
    return asdict(run) | {"ended": moment}


def _timer_row(run: LastRun) -> tuple[str, str, str]:
    moment = f"{datetime.fromtimestamp(run.ended).astimezone():%Y-%m-%d %H:%M}" if run.ended else "never"
    result = run.result if run.result in ("", "success") else f"{run.result} ({run.exit_code})"
    return run.timer, moment, result if run.active else "it is not active: `kmuctl up` starts it"


def show_logs(console: Console, stack: Stack, name: str, lines: int, *, whole: bool) -> None:
    host = _own_host(stack)
    names = _present(console, stack, host, _of_service(stack, name) if whole else _containers(stack, name))
    texts = {container: host.engine.logs(stack.project, container, lines) for container in names}
    head = len(texts) > 1
    text = "\n".join(
        (f"== {container} ==\n" if head else "") + content.rstrip() for container, content in texts.items()
    )
    console.result(text, {"logs": texts})


def follow_logs(console: Console, stack: Stack, name: str, lines: int, *, whole: bool) -> int:
    """Docker's own exit code."""
    if console.as_json:
        raise ConfigError("logs: --follow never ends, so it has no --json", hint="leave one of the two out")
    host = _own_host(stack)
    names = _present(console, stack, host, _of_service(stack, name) if whole else _containers(stack, name))
    return _compose(stack, host, "logs", "--follow", "--tail", str(lines), *names)


def execute(console: Console, stack: Stack, name: str, arguments: list[str]) -> int:
    """Run the command with this terminal, or with none: its own exit code."""
    host = _own_host(stack)
    container, *others = _containers(stack, name)
    if others:
        raise ConfigError(f"`{name}` has several containers", hint=f"one of: {', '.join([container, *others])}")
    fact = host.engine.containers(stack.project, [container]).get(container)
    if fact is None or fact.state != "running":
        raise HostError(f"`{container}` is not running", hint="`kmuctl up` starts it")
    if console.as_json:
        answer = host.engine.execute(stack.project, container, arguments)
        console.result("", asdict(answer))
        return answer.code
    terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["-T"]
    return _compose(stack, host, "exec", *terminal, container, *arguments)


def run_stalwart_cli(stack: Stack, arguments: list[str]) -> int:
    """The tool's own exit code."""
    host = _own_host(stack)
    _containers(stack, CONTAINER)
    key = known_key(stack, host)
    fact = host.engine.containers(stack.project, [CONTAINER]).get(CONTAINER)
    if key is None or fact is None or fact.state != "running":
        raise HostError(f"`{CONTAINER}` is not set up and running", hint="`kmuctl up` sees to it")
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return host.foreground(tool.command(stack, arguments, terminal=terminal), {tool.TOKEN: key.reveal()})


def show_login_link(console: Console, stack: Stack, user: str) -> None:
    user, host = user or stack.site.admin.username, _own_host(stack)
    require_worker(stack, host)
    with journaled(host, stack.folder, "login-link", user=user) as end:
        link = login_link(stack, host, user)
        end["event"] = "ended"
    console.note(f"Signs in `{user}` once, within {MINUTES} minutes. Then choose a password in the settings there.")
    console.result(link, {"user": user, "link": link, "minutes": MINUTES})


def _own_host(stack: Stack) -> Host:
    """The machine, when no other site runs there: its containers would be taken for ours."""
    host = host_of(stack)
    refuse_other_site(stack, host)
    return host


def _compose(stack: Stack, host: Host, *arguments: str) -> int:
    """`docker compose` in the foreground."""
    return host.foreground(("docker", "compose", "--project-name", stack.project, *arguments), {})


def _present(console: Console, stack: Stack, host: Host, names: list[str]) -> list[str]:
    """Those which exist now; one of many that is missing does not hide the others."""
    facts = host.engine.containers(stack.project, names)
    missing = [container for container in names if container not in facts]
    text = f"no container now: {', '.join(missing)}"
    if len(missing) == len(names):
        raise HostError(text, hint="`kmuctl up` makes it; `kmuctl status` shows what there is")
    if missing:
        console.warn(text)
    return [container for container in names if container in facts]


def _containers(stack: Stack, name: str) -> list[str]:
    """The container of that name, else those of the service: `nextcloud` is one of the three of Nextcloud."""
    if name in (container.name for container in stack.containers()):
        return [name]
    if name in stack:
        return _of_service(stack, name)
    known = ", ".join(container.name for container in stack.containers())
    raise ConfigError(f"no service or container `{name}` in this site", hint=f"one of: {known}")


def _of_service(stack: Stack, name: str) -> list[str]:
    if name not in stack:
        known = ", ".join(service.name for service in stack.services)
        raise ConfigError(f"--all: no service `{name}` in this site", hint=f"one of: {known}")
    return [container.name for container in stack[name].containers]
