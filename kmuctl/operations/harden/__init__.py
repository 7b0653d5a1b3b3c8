"""`kmuctl harden`: the machine itself, made fit and kept safe. Each part is a generator of steps of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.model.step import Step
from kmuctl.operations.harden import apt, cloud_init, confirmation, undo
from kmuctl.operations.harden.engine import docker
from kmuctl.operations.harden.fail2ban import fail2ban
from kmuctl.operations.harden.firewall import firewall
from kmuctl.operations.harden.sshd import ssh
from kmuctl.operations.harden.system import system

Part = Callable[[Stack, Machine], Iterator[Step]]
"""The body sees only the stack and the machine's kind; the host is looked at inside the checks."""
PARTS: dict[str, Part] = {
    "system": system, "docker": docker, "firewall": firewall, "ssh": ssh, "fail2ban": fail2ban,
}  # fmt: skip
"""By the name of its switch in `[harden]`, in the order of their work."""
GUARDED = {"firewall": "firewall:ufw", "ssh": "ssh:settings"}
"""The step of a part that could lock the admin out. After the last of them one confirmation is waited for."""


def harden(stack: Stack, machine: Machine) -> Iterator[Step]:
    """The steps of all parts that are switched on. They run one after another: apt lets only one in."""
    yield cloud_init.finished_step()
    yield from apt.ready_steps()
    wanted = [name for name in PARTS if getattr(stack.site.harden, name)]
    guarded = [name for name in wanted if name in undo.NAMES]
    for name in wanted:
        yield from PARTS[name](stack, machine)
        if [name] == guarded[-1:]:
            after = tuple(GUARDED[part] for part in guarded)
            yield confirmation.confirmed_step(guarded, stack.site.harden.undo_minutes, after=after)
