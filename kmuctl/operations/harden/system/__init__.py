"""The machine without its services: packages, updates, clock, memory, kernel, and who may see what."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.model.step import Step
from kmuctl.operations.harden import apt
from kmuctl.operations.harden.system import clock, permissions, settings, swap, updates

PACKAGES = (
    "ca-certificates",  # what is fetched over https can be checked
    "python3-venv",  # kmuctl itself, which its timers call here
    "restic",  # backups
    "unattended-upgrades",  # security updates while nobody looks
    "needrestart",  # and what runs uses them
    "apparmor",  # Docker confines containers with it
    "chkrootkit",  # traces of known rootkits, looked for each night: `journalctl -u chkrootkit`
    "debsums",  # which files of packages somebody changed
    "libpam-passwdqc",  # passwords of accounts, for sudo, are none that can be guessed
    "libpam-tmpdir",  # everybody's temporary files lie in a folder of their own
    "apt-listchanges",  # what an update changes for the admin is shown at the update
    "sysstat",  # how busy it was last night
    "cron",  # sysstat's and debsums' own jobs
    "logrotate",  # logs do not fill the disk
    "procps", "iproute2", "curl",  # what an admin in need expects
)  # fmt: skip
BESIDES_CONTAINERS = ("auditd",)
"""Who changed accounts, sudo, SSH, services. A container's kernel belongs to its host."""


def system(stack: Stack, machine: Machine) -> Iterator[Step]:
    packages = PACKAGES if machine.container else PACKAGES + BESIDES_CONTAINERS
    yield updates.upgrades_step()
    yield apt.packages_step("system:packages", packages, after=("system:upgrades",))
    installed = ("system:packages",)
    yield from updates.unattended_steps(stack, after=installed)
    yield from settings.steps(stack, machine, after=installed)
    if not machine.container:
        yield clock.step()
        yield from swap.steps(machine)
    yield permissions.step(after=installed)
    yield permissions.assembler_step(after=installed)
    yield updates.reboot_step(after=installed)
