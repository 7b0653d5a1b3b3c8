"""The machine that a command works on."""

from __future__ import annotations

from kmuctl.drivers.local import LocalHost
from kmuctl.model.errors import HostError
from kmuctl.model.stack import Stack


def host_of(stack: Stack) -> LocalHost:
    """The host of the site file. No command may take this machine for another one."""
    if stack.site.host.address != "local":
        raise HostError(
            f"host.address is `{stack.site.host.address}`: this version works on its own machine only",
            hint='run kmuctl on the server itself, with `address = "local"`',
        )
    return LocalHost()
