"""What kmuctl does by itself: systemd timers that call it, where systemd runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from jinja2 import Environment, StrictUndefined

from kmuctl import SITE_FILE, assets
from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.program import PROGRAM, unfit

UNITS, TEMPLATES = "/etc/systemd/system", "templates/systemd"
HERE = ("--host", "local")
"""The site file may have the way from elsewhere to the very machine that the timer runs on."""
SHOWN = ("Id", "ActiveState", "Result", "ExecMainStatus", "ExecMainExitTimestamp")
PRECISE = "--timestamp=us+utc"
"""What `moment` reads; seconds since 1970 are told by systemd 251 and later only, and Ubuntu 22.04 has 249."""
RUNNING = "/run/systemd/system"
"""There exactly where systemd is the machine's own manager (sd_booted(3))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A command of kmuctl and when it runs; `name` is that of its units."""

    name: str
    description: str
    command: tuple[str, ...]
    calendar: str
    """As systemd.time(7) has it."""
    cron: str
    """The same for a machine without systemd."""
    delay: str = "15min"
    """At most, by chance: not every server of the world at the full hour."""


CERTS = Timer(
    name="kmuctl-certs", description="Hand renewed certificates to mail and calls", command=("certs", "sync"),
    calendar="hourly", cron="17 * * * *",
)  # fmt: skip
TIMERS = (CERTS,)


def timer_steps(stack: Stack, program: tuple[str, ...], *, after: tuple[str, ...]) -> Iterator[Step]:
    for timer in TIMERS:
        yield timer_step(stack, timer, program, after=after)


def timer_step(stack: Stack, timer: Timer, program: tuple[str, ...], *, after: tuple[str, ...]) -> Step:
    """The units are in place and the timer runs; holds where there is no systemd, or no kmuctl to call."""
    files = unit_files(stack, timer, program)
    clock = f"{timer.name}.timer"

    def check(host: Reader) -> Drift | None:
        present = host.facts([*files, RUNNING, PROGRAM])
        if RUNNING not in present or (program == (PROGRAM,) and PROGRAM not in present and unfit(host)):
            return None
        present = {path: fact for path, fact in present.items() if path in files}
        digests = {path: fact.digest for path, fact in present.items()}
        if digests != {path: sha256(content).hexdigest() for path, content in files.items()}:
            return Drift("its units differ" if present else "to install")
        if host.query(("systemctl", "show", "--property=NeedDaemonReload", clock)).stdout.strip().endswith("=yes"):
            return Drift("systemd has not read its units yet")
        for question, wanted in (("is-enabled", "enabled"), ("is-active", "active")):
            answer = host.query(("systemctl", question, clock)).stdout.strip()
            if answer != wanted:
                return Drift(f"it is {answer or 'not there'}, not {wanted}")
        return None

    def apply(host: Host) -> None:
        for path, content in files.items():
            host.write(path, content)
        for words in (("daemon-reload",), ("enable", clock), ("restart", clock)):
            systemctl(host, *words)

    return Step(
        name=f"timer:{timer.name}", check=check, apply=apply, after=after,
        hint=f"`systemctl status {clock}` says more",
    )  # fmt: skip


def unit_files(stack: Stack, timer: Timer, program: tuple[str, ...]) -> dict[str, bytes]:
    """The two units by path. A system's own quoting: no `%`, no `$`, words with blanks in quotes."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 (no HTML)
    environment.filters["quote"] = _quoted
    known = {"timer": timer, "folder": stack.folder, "program": (*program, *HERE)}
    return {
        f"{UNITS}/{timer.name}.{kind}": environment.from_string(assets.sources()[f"{TEMPLATES}/unit.{kind}.j2"])
        .render(known)
        .encode()
        for kind in ("service", "timer")
    }


def _quoted(word: str) -> str:
    """A word of a command as systemd.service(5) reads it."""
    word = word.replace("%", "%%").replace("$", "$$")
    plain = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"' if plain != word or not word or " " in word or "'" in word or ";" in word else word


def has_systemd(host: Reader) -> bool:
    return RUNNING in host.facts([RUNNING])


def cron_lines(stack: Stack, program: tuple[str, ...]) -> list[str]:
    """For a machine without systemd."""
    site = f"{stack.folder}/{SITE_FILE}"
    return [" ".join([timer.cron, *program, *HERE, "--site", site, *timer.command]) for timer in TIMERS]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    timer: str
    active: bool
    """It will run again by itself."""
    ended: float | None
    """In seconds since 1970; None before the first time."""
    result: str
    """`success`, or systemd's word for what went wrong; empty before the first time."""
    exit_code: int

    @property
    def fine(self) -> bool:
        return self.active and self.result in ("", "success")


def last_runs(host: Reader, timers: Iterable[Timer] = TIMERS) -> list[LastRun]:
    """Of the timers that are installed; nothing without systemd."""
    units = {timer: f"{UNITS}/{timer.name}.timer" for timer in timers}
    present = host.facts([RUNNING, *units.values()])
    known = [timer for timer, path in units.items() if path in present]
    if RUNNING not in present or not known:
        return []
    names = [f"{timer.name}.{kind}" for timer in known for kind in ("timer", "service")]
    answer = host.query(("systemctl", "show", PRECISE, f"--property={','.join(SHOWN)}", *names))
    blocks = [dict(line.split("=", 1) for line in text.splitlines()) for text in answer.stdout.strip().split("\n\n")]
    shown = {block.get("Id", ""): block for block in blocks}
    return [_last_run(timer, shown) for timer in known]


def _last_run(timer: Timer, shown: Mapping[str, Mapping[str, str]]) -> LastRun:
    clock, service = (shown.get(f"{timer.name}.{kind}", {}) for kind in ("timer", "service"))
    ended = moment(service.get("ExecMainExitTimestamp", ""))
    return LastRun(
        timer=timer.name, active=clock.get("ActiveState") == "active", ended=ended,
        result=service.get("Result", "") if ended else "", exit_code=int(service.get("ExecMainStatus") or 0),
    )  # fmt: skip


def moment(text: str) -> float | None:
    """`Sat 2026-11-28 19:54:41.123456 UTC` in seconds since 1970; None for what has not been."""
    from datetime import UTC, datetime

    words = text.split()
    if len(words) < 3:
        return None
    return datetime.strptime(f"{words[1]} {words[2]}", "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()


def installed(host: Reader, timers: Iterable[Timer] = TIMERS) -> list[str]:
    """Paths of our units on this machine."""
    return sorted(host.facts(f"{UNITS}/{timer.name}.{kind}" for timer in timers for kind in ("service", "timer")))


def remove(host: Host) -> list[str]:
    """No timer of ours is left; the paths of what was removed."""
    paths = installed(host)
    if paths and has_systemd(host):
        for path in (path for path in paths if path.endswith(".timer")):
            systemctl(host, "disable", "--now", path.rpartition("/")[2])
    for path in paths:
        host.remove(path)
    if paths and has_systemd(host):
        systemctl(host, "daemon-reload")
    return paths


def systemctl(host: Host, *words: str) -> None:
    answer = host.run(("systemctl", *words))
    if answer.code:
        raise StepFailed(f"`systemctl {' '.join(words)}` failed: {answer.reason}")
