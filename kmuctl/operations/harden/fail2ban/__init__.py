"""fail2ban: whoever tries passwords or doors is kept out, for longer each time."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.model.step import Step
from kmuctl.operations.harden.apt import packages_step
from kmuctl.operations.harden.fail2ban.jails import web_jails
from kmuctl.operations.harden.fail2ban.steps import jails_step, log_step, unwatched_step

PACKAGES = ("fail2ban", "python3-systemd", "iptables", "iproute2")
"""Without python3-systemd it reads no journal, and on a machine without syslog it does not start at all."""


def fail2ban(stack: Stack, machine: Machine) -> Iterator[Step]:
    yield packages_step("fail2ban:packages", PACKAGES)
    yield log_step(stack) if web_jails(stack) else unwatched_step()
    yield jails_step(stack)
