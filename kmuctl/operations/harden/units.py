"""systemd's units, asked whether they run and whether they have read their settings."""

from __future__ import annotations

from kmuctl.model.host import Reader


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
    return fact is not None and fact.written > started(host, unit)


def started(host: Reader, unit: str) -> float:
    """When it started, in seconds since 1970; 0 when it does not run."""
    answer = host.query(("systemctl", "show", "--timestamp=us+utc", "--property=ExecMainStartTimestamp", unit))
    return _seconds(answer.stdout.strip().partition("=")[2])


def _seconds(text: str) -> float:
    """`Sat 2026-11-28 19:54:41.123456 UTC`."""
    from datetime import UTC, datetime

    words = text.split()
    if len(words) < 3:
        return 0.0
    return datetime.strptime(f"{words[1]} {words[2]}", "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
