"""What others need not see: jobs of cron, settings of sshd, what people keep at home."""

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
}
HOME, HOME_MODE = "/home/", 0o750
ASSEMBLER, COMPILER = "/usr/bin/as", "/usr/bin/gcc"


def step(*, after: tuple[str, ...]) -> Step:
    def open_ones(host: Reader) -> list[str]:
        wanted = _wanted(host)
        return [path for path, fact in host.facts(wanted).items() if fact.mode & ~wanted[path]]

    def check(host: Reader) -> Drift | None:
        found = open_ones(host)
        return Drift(f"for others to see: {few(found)}") if found else None

    def apply(host: Host) -> None:
        for path in open_ones(host):
            run(host, "chmod", f"{_wanted(host)[path]:o}", path)

    return Step(name="system:permissions", check=check, apply=apply, after=after)


def _wanted(host: Reader) -> dict[str, int]:
    accounts = (line.split(":") for line in host.query(("getent", "passwd")).stdout.splitlines())
    homes = [account[5] for account in accounts if len(account) == 7 and account[5].startswith(HOME)]
    return MODES | dict.fromkeys(homes, HOME_MODE)


def assembler_step(*, after: tuple[str, ...]) -> Step:
    """It came with chkrootkit and builds exploits too. Where somebody compiles, it stays for all."""

    def check(host: Reader) -> Drift | None:
        facts = host.facts([ASSEMBLER, COMPILER])
        if COMPILER in facts or ASSEMBLER not in facts:
            return None
        return Drift("anybody may use it, and nobody compiles here") if facts[ASSEMBLER].mode & 0o007 else None

    def apply(host: Host) -> None:
        """By dpkg, so that an update leaves it so."""
        target = host.query(("readlink", "--canonicalize", ASSEMBLER)).stdout.strip()
        override = ("--force-statoverride-add", "--update", "--add", "root", "root", "0750", target)
        run(host, "dpkg-statoverride", *override)

    return Step(name="system:assembler", check=check, apply=apply, after=after)
