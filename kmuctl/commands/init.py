"""`kmuctl init`: the wizard, and what to do next."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import typer

from kmuctl import SITE_FILE
from kmuctl.commands import dns
from kmuctl.console import Console
from kmuctl.drivers.local import LocalHost
from kmuctl.model.stack import Stack
from kmuctl.model.values import ascii_domain
from kmuctl.operations.caddy import ca_certificate
from kmuctl.operations.init import (
    DEFAULTS,
    TRIAL,
    Answers,
    Question,
    complete,
    hosts_lines,
    named_address,
    public_address,
    reachable,
    require_room,
    write_site,
)


def run(console: Console, directory: Path, given: Answers, *, trial: bool, ask: bool) -> bool:
    """Write the site file and show what it asks for. True when the admin wants to go on right away."""
    console.if_interrupted = "nothing was written"
    require_room(directory)
    preset = TRIAL if trial else DEFAULTS
    answers = complete({**preset, **given}, (lambda question: prompt(console, question)) if ask else None)
    here = answers["host.address"] == "local"
    found = public_address(LocalHost()) if here else named_address(answers["host.address"])
    if found:
        answers.setdefault("host.ipv4", found)
    stack = write_site(directory, answers)
    console.if_interrupted = f"`{directory / SITE_FILE}` is there; next: {_next(directory / SITE_FILE, trial=trial)[0]}"
    show(console, stack, directory / SITE_FILE, trial=trial)
    return ask and here and typer.confirm("Set it up on this machine now?", default=False, err=True)


def prompt(console: Console, question: Question) -> str:
    """Ask until the answer is a good one; capitals in a domain are no mistake of a person at a keyboard."""
    while True:
        text = str(typer.prompt(question.text, err=True)).strip()
        if question.check is ascii_domain:
            text = text.lower()
        try:
            question.check(text)
        except ValueError as error:
            console.note(f"  `{text}` {error}")
        else:
            return text


def show(console: Console, stack: Stack, path: Path, *, trial: bool) -> None:
    follow_up = _next(path, trial=trial)
    if console.as_json:
        console.result("", _data(stack, path, trial=trial) | {"next": follow_up[0]})
        return
    _show_name(console, stack, path)
    if trial:
        _show_trial(console, stack)
    else:
        _warn_of_address(console, stack)
        dns.table(console, stack, stack.records(), " (`kmuctl dns` shows them again, with DKIM once mail runs)")
    ports = [(str(port), port.purpose) for port in stack.ports()]
    console.table(["port", "for"], ports, "Ports to open in the provider's firewall")
    first, *others = [*follow_up, "(add --dry-run to see first what it would do)"]
    print_lines(console, [f"next: {first}", *(f"      {line}" for line in others)])


def _next(path: Path, *, trial: bool) -> list[str]:
    """What to type; a laptop stays as it is."""
    return [f"kmuctl --site {quote(str(path))} {verb}" for verb in (("up",) if trial else ("harden", "up"))]


def _data(stack: Stack, path: Path, *, trial: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "site": str(path),
        "domain": stack.site.domain,
        "display_domain": stack.site.display_domain,
        "records": [dns.record_data(record) for record in stack.records()],
        "ports": [{"port": str(port), "purpose": port.purpose} for port in stack.ports()],
    }
    return data | {"hosts": hosts_lines(stack), "ca_certificate": ca_certificate(stack)} if trial else data


def _show_name(console: Console, stack: Stack, path: Path) -> None:
    shown, name = stack.site.display_domain, stack.site.domain
    print_lines(console, [f"wrote `{path}` for {shown}" + (f" ({name} in DNS)" if shown != name else ""), ""])


def _warn_of_address(console: Console, stack: Stack) -> None:
    address = stack.site.host.ipv4
    if address and not reachable(address):
        console.warn(f"{address} is a private address: put the public one into [host] ipv4")


def _show_trial(console: Console, stack: Stack) -> None:
    lines = ["Lines for /etc/hosts on the machine with the browser:", *(f"  {line}" for line in hosts_lines(stack)), ""]
    print_lines(console, [*lines, f"Certificate to trust in the browser (made by `up`): {ca_certificate(stack)}", ""])


def print_lines(console: Console, lines: list[str]) -> None:
    console.result("\n".join(lines), {})
