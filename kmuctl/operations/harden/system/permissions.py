"""What only root needs to see: jobs of cron, the settings of sshd and of the boot loader."""

from __future__ import annotations

from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.harden.dropins import run

MODES = {
    "/etc/crontab": 0o600,
    "/etc/cron.d": 0o700,
    "/etc/cron.hourly": 0o700,
    "/etc/cron.daily": 0o700,
    "/etc/cron.weekly": 0o700,
    "/etc/cron.monthly": 0o700,
    "/etc/ssh/sshd_config": 0o600,
    "/etc/sudoers.d": 0o750,
    "/boot/grub/grub.cfg": 0o600,
}


def step(*, after: tuple[str, ...]) -> Step:
    def open_ones(host: Reader) -> list[str]:
        return [path for path, fact in host.facts(MODES).items() if fact.mode & ~MODES[path]]

    def check(host: Reader) -> Drift | None:
        found = open_ones(host)
        return Drift(f"for others to see: {few(found)}") if found else None

    def apply(host: Host) -> None:
        for path in open_ones(host):
            run(host, "chmod", f"{MODES[path]:o}", path)

    return Step(name="system:permissions", check=check, apply=apply, after=after)
