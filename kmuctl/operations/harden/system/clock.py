"""The right time: certificates, second factors and logs depend on it."""

from __future__ import annotations

from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step
from kmuctl.operations.harden import apt
from kmuctl.operations.timers import systemctl

KEEPERS = ("systemd-timesyncd", "chrony", "ntpsec", "openntpd")
OURS = KEEPERS[0]


def step() -> Step:
    """Some program keeps it; a present one is as good as ours."""

    def check(host: Reader) -> Drift | None:
        running = host.query(("systemctl", "is-active", *KEEPERS)).stdout.split()
        return None if "active" in running else Drift("no program keeps the clock right")

    def apply(host: Host) -> None:
        apt.install(host, apt.missing(host, [OURS]))
        systemctl(host, "enable", "--now", OURS)

    return Step(
        name="system:time", check=check, apply=apply, after=apt.READY, deadline=15, hint="`timedatectl` says more"
    )
