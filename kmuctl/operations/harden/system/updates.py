"""Updates: those that wait now, those of every night, and the restart that some of them need."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few, wait_only
from kmuctl.operations.harden import apt
from kmuctl.operations.harden.dropins import dropin_step, rendered
from kmuctl.operations.harden.units import unit_state
from kmuctl.operations.timers import systemctl

UNATTENDED = "/etc/apt/apt.conf.d/99kmuctl"
NEEDRESTART = "/etc/needrestart/conf.d/kmuctl.conf"
KEPT = ("docker-", "docker[.]io$", "containerd", "runc$")
"""Patterns that the begin of a package's name fits."""
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
REBOOT = "/run/reboot-required"
UPGRADE = ("--with-new-pkgs", "upgrade")


def upgrades_step() -> Step:
    """Nothing waits. Without network the plan counts what is known here."""

    def check(host: Reader) -> Drift | None:
        if waiting := _waiting(host):
            return Drift(f"{len(waiting)} updates wait: {few(waiting)}")
        return Drift("the package lists are older than a day, or than their sources") if apt.stale(host) else None

    def apply(host: Host) -> None:
        apt.update(host)
        apt.apt_get(host, *UPGRADE)

    return Step(name="system:upgrades", check=check, apply=apply, after=apt.READY)


def _waiting(host: Reader) -> list[str]:
    """`Inst NAME [old] (new ...)` of a simulation, which takes no lock."""
    answer = host.query((*apt.QUIET, "apt-get", "-s", "-q", *UPGRADE))
    return [line.split()[1] for line in answer.stdout.splitlines() if line.startswith("Inst ")]


def unattended_steps(stack: Stack, *, after: tuple[str, ...]) -> Iterator[Step]:
    content = rendered("system/unattended.conf", kept=KEPT, reboot=stack.site.harden.reboot)
    wanted = [line for line in content.decode().splitlines() if not line.startswith("//")]

    def in_force(host: Reader) -> Drift | None:
        shown = host.query(("apt-config", "dump")).stdout.splitlines()
        other = [line for line in wanted if line not in shown]
        return Drift(f"another file says otherwise: {other[0].split()[0]}") if other else None

    yield dropin_step(
        "system:unattended", {UNATTENDED: content}, in_force=in_force, after=after,
        hint="look into the other files in /etc/apt/apt.conf.d",
    )  # fmt: skip
    yield _timers_step(after=after)
    yield dropin_step("system:needrestart", {NEEDRESTART: rendered("system/needrestart.conf")}, after=after)


def _timers_step(*, after: tuple[str, ...]) -> Step:
    def stopped(host: Reader) -> list[str]:
        return [timer for timer in TIMERS if unit_state(host, timer)]

    def check(host: Reader) -> Drift | None:
        found = stopped(host)
        return Drift(f"off: {few(found)}") if found else None

    def apply(host: Host) -> None:
        for timer in stopped(host):
            for words in (("unmask", timer), ("enable", "--now", timer)):
                systemctl(host, *words)

    return Step(name="system:update-timers", check=check, apply=apply, after=after)


def reboot_step(*, after: tuple[str, ...]) -> Step:
    """Told, never done: when, only the admin knows, or `reboot` in the site file."""

    def check(host: Reader) -> Drift | None:
        if not host.facts([REBOOT]):
            return None
        hint = "`reboot` at a quiet hour; everything starts again by itself"
        return Drift(f"updates wait for a restart of the machine: {hint}", tolerable=True)

    return Step(name="system:reboot", check=check, apply=wait_only, after=after)
