"""lynis, the judge of a whole machine."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.vps import Vps

AUDIT = "lynis audit system --quiet; cat /var/log/lynis-report.dat"


@dataclass(frozen=True)
class Verdict:
    index: int
    """Of 100."""
    warnings: list[str]


def audit(server: Vps) -> Verdict:
    server.install("lynis")
    lines = server.say("sh", "-c", AUDIT).splitlines()
    index = next(int(line.partition("=")[2]) for line in lines if line.startswith("hardening_index="))
    return Verdict(index, [line for line in lines if line.startswith("warning")])
