"""Timers: installed where systemd runs, put right when they differ, gone with the site."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kmuctl.model.step import State
from kmuctl.operations.down import purge, purgeable
from kmuctl.operations.program import own_program
from kmuctl.operations.timers import CERTS, UNITS, cron_lines, timer_step, unit_files
from tests.fakes import FakeHost, Machine
from tests.operations.scenes import bring, changed, empty, go_up, plan, running
from tests.support import stack

CLOCK, SERVICE = f"{UNITS}/kmuctl-certs.timer", f"{UNITS}/kmuctl-certs.service"
PROGRAM = ("/usr/local/bin/kmuctl",)


def unit(program: tuple[str, ...] = PROGRAM, folder: str = "/opt/kmu") -> list[str]:
    files = unit_files(stack(host={"folder": folder}), CERTS, program)
    return files[SERVICE].decode().splitlines()


def install(host: FakeHost, program: tuple[str, ...] = PROGRAM) -> State:
    step = timer_step(stack(), CERTS, program, after=())
    return bring([step], host)[step.name].state


def test_up_installs_and_starts_the_timer() -> None:
    """K8: it runs now, and after the next boot."""
    host = running()
    assert (host.systemd.enabled, host.systemd.active) == ({"kmuctl-certs.timer"}, {"kmuctl-certs.timer"})
    assert host.systemd.loaded[CLOCK.rpartition("/")[2]] == host.read(CLOCK)


def test_the_timer_comes_every_hour_and_catches_up() -> None:
    lines = running().text(CLOCK).splitlines()
    assert {"OnCalendar=hourly", "RandomizedDelaySec=15min", "Persistent=true", "WantedBy=timers.target"} <= {*lines}


def test_the_service_needs_no_path() -> None:
    """systemd knows nothing of pipx: the program is named in full, and so is the site file on the host."""
    assert "ExecStart=/usr/local/bin/kmuctl --host local --site /opt/kmu/kmu.toml certs sync" in unit()
    assert "ExecStart=/opt/venv/bin/python -m kmuctl --host local --site /srv/kmu/kmu.toml certs sync" in unit(
        ("/opt/venv/bin/python", "-m", "kmuctl"), "/srv/kmu"
    )


def test_another_kmuctl_at_work_is_no_failure() -> None:
    assert "SuccessExitStatus=4" in unit()


@pytest.mark.parametrize(
    ("word", "quoted"), [("/a b/kmuctl", '"/a b/kmuctl"'), ("/a%b", "/a%%b"), ("/a$b", "/a$$b"), ('/a"b', '"/a\\"b"')]
)
def test_odd_paths_are_quoted_as_systemd_reads_them(word: str, quoted: str) -> None:
    assert f"ExecStart={quoted} --host local --site /opt/kmu/kmu.toml certs sync" in unit((word,))


@pytest.mark.parametrize(
    ("started", "program"),
    [
        ("/usr/local/bin/kmuctl", ("/usr/local/bin/kmuctl",)),
        ("kmuctl", (f"{Path.cwd()}/kmuctl",)),
        ("/x/kmuctl/__main__.py", (sys.executable, "-m", "kmuctl")),
    ],
)
def test_the_running_kmuctl_is_what_the_timer_calls(
    monkeypatch: pytest.MonkeyPatch, started: str, program: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", [started, "up"])
    assert own_program() == program


def test_the_second_time_nothing_happens() -> None:
    """U36."""
    host = running()
    assert plan(host)["timer:kmuctl-certs"].state is State.OK


@pytest.mark.parametrize("path", [CLOCK, SERVICE])
def test_a_unit_changed_by_hand_is_put_right_and_read_again(path: str) -> None:
    """K56."""
    host = running()
    before = host.read(path)
    host.write(path, b"[Timer]\nOnCalendar=weekly\n")
    assert plan(host)["timer:kmuctl-certs"].cause == "its units differ"
    assert changed(go_up(host)) == {"timer:kmuctl-certs"}
    assert host.systemd.loaded[path.rpartition("/")[2]] == host.read(path) == before


def test_a_kmuctl_that_moved_is_followed() -> None:
    host = empty()
    assert install(host) is State.CHANGE
    assert install(host, ("/opt/venv/bin/kmuctl",)) is State.CHANGE
    assert install(host, ("/opt/venv/bin/kmuctl",)) is State.OK


@pytest.mark.parametrize(("units", "cause"), [("enabled", "it is disabled"), ("active", "it is inactive")])
def test_a_timer_that_was_switched_off_is_on_again(units: str, cause: str) -> None:
    host = running()
    getattr(host.systemd, units).clear()
    assert plan(host)["timer:kmuctl-certs"].cause.startswith(cause)
    assert changed(go_up(host)) == {"timer:kmuctl-certs"}


def test_a_killed_up_is_finished() -> None:
    """The units lie there, systemd has not read them."""
    host = empty()
    for path, content in unit_files(stack(), CERTS, PROGRAM).items():
        host.write(path, content)
    assert install(host) is State.CHANGE
    assert host.systemd.active == {"kmuctl-certs.timer"}


def test_without_systemd_there_is_a_line_for_cron() -> None:
    host = Machine(systemd=False).host()
    assert go_up(host)["timer:kmuctl-certs"].state is State.OK
    assert host.tree(UNITS) == []
    assert cron_lines(stack(), PROGRAM) == [
        "17 * * * * /usr/local/bin/kmuctl --host local --site /opt/kmu/kmu.toml certs sync"
    ]


def test_purge_takes_the_timer_along() -> None:
    """K8: nothing is left that would call kmuctl; foreign units stay."""
    host = running()
    host.write(f"{UNITS}/kmuctl-mine.timer", b"[Timer]\n")
    assert {CLOCK, SERVICE} <= {*purgeable(stack(), host)}
    purge(stack(), host)
    assert (host.systemd.enabled, host.systemd.active) == (set(), set())
    assert host.tree(UNITS) == ["kmuctl-mine.timer"]
    assert [*host.systemd.loaded] == ["kmuctl-mine.timer"]
