"""`kmuctl secrets list` and `rotate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from time import time

from kmuctl.commands.host import host_of
from kmuctl.commands.up import run as bring_up
from kmuctl.console import Console
from kmuctl.model.errors import ConfigError
from kmuctl.model.host import Host
from kmuctl.model.secrets import Secret
from kmuctl.model.stack import Stack
from kmuctl.operations.renewal import exchanged, maker
from kmuctl.operations.vault import open_vault


def show(console: Console, stack: Stack) -> None:
    """Names and who reads them, never a value."""
    vault = open_vault(stack, host_of(stack))
    readers = {
        spec.name: [service.name for service in stack.services if spec.name in stack.readable(service)]
        for spec in stack.secrets()
    }
    states = {name: "not made yet" if name in vault.fresh else "" for name in readers} | dict.fromkeys(
        vault.previous, "rotation not finished: run `kmuctl up`"
    )
    if console.as_json:
        found = [{"name": name, "read_by": by, "state": states[name]} for name, by in readers.items()]
        console.result("", {"file": vault.path, "secrets": found})
        return
    rows = [(name.upper(), ", ".join(by), states[name]) for name, by in readers.items()]
    console.table(["secret", "read by", "state"], rows)


def rotate(console: Console, stack: Stack, site: Path, names: Iterable[str]) -> bool:
    """Give each secret a new value, and have both sides know it; whether that is done."""
    makers = {name: maker(stack, name) for name in names}
    prepare = partial(_exchange, stack, makers=makers)
    return bring_up(console, stack, site, command="secrets rotate", prepare=prepare)


def _exchange(stack: Stack, host: Host, makers: Mapping[str, Callable[[], str]]) -> None:
    """Write the new value beside the old one: from here on `kmuctl up` can finish it, whatever happens."""
    vault = open_vault(stack, host)
    if unfinished := [name.upper() for name in makers if name in vault.previous]:
        raise ConfigError(f"the rotation of {', '.join(unfinished)} is not finished", hint="run `kmuctl up` first")
    if fresh := [name for name in makers if name in vault.fresh]:
        raise ConfigError(f"{fresh[0].upper()} is not made yet", hint="run `kmuctl up` first")
    text = vault.text
    for name, make in makers.items():
        text = exchanged(text, vault, name, Secret(make()), time())
    host.write(vault.path, text.encode(), mode=0o600)
