"""systemd's units, asked whether they run and whether they have read their settings."""

from __future__ import annotations

from kmuctl.model.host import Reader
from kmuctl.operations.timers import PRECISE, moment


def unit_state(host: Reader, unit: str) -> str:
    """ "" while it runs and starts at boot, else what it is."""
    for question, good in (("is-active", ("active",)), ("is-enabled", ("enabled", "static", "alias", "indirect"))):
        answer = host.query(("systemctl", question, unit)).stdout.strip()
        if answer not in good:
            return answer or "not there"
    return ""


def loaded_before(host: Reader, unit: str, path: str) -> bool:
    """Whether the file is newer than the start of the unit that reads it."""
    fact = host.facts([path]).get(path)
    # a clock that was set back must not make us restart for ever
    return fact is not None and started(host, unit) < fact.written <= host.now()


def started(host: Reader, unit: str) -> float:
    """When it started, in seconds since 1970; 0 when it does not run."""
    answer = host.query(("systemctl", "show", PRECISE, "--property=ExecMainStartTimestamp", unit))
    return moment(answer.stdout.strip().partition("=")[2]) or 0.0
