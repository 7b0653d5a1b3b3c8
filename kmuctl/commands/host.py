"""The machine that a command works on, and who is asked when the way there has a question."""

from __future__ import annotations

import atexit
import sys
from contextvars import ContextVar

import typer

from kmuctl.drivers.local import LocalHost
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack

accepting: ContextVar[bool] = ContextVar("accepting", default=False)
"""Whether the key of a server that nobody has met yet is taken: `--accept-new-host-key`."""


def host_of(stack: Stack) -> Host:
    """The host of the site file, or of `--host`. A server is connected to at once."""
    address = stack.site.host.address
    return LocalHost() if address == "local" else _connected(address)


def _connected(address: str) -> Host:
    from kmuctl.drivers.ssh.host import SshHost
    from kmuctl.drivers.ssh.settings import settings_of

    host = SshHost(settings_of(address), Terminal())
    atexit.register(host.close)
    return host


class Terminal:
    """Whoever sits at it. Progress is not shown yet when these questions come."""

    @property
    def accepts_new_keys(self) -> bool:
        return accepting.get()

    def agree(self, question: str) -> bool:
        return _somebody() and typer.confirm(question, default=False, err=True)

    def secret(self, question: str) -> str | None:
        return str(typer.prompt(question, hide_input=True, err=True)) if _somebody() else None


def _somebody() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
