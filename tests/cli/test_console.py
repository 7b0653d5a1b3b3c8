"""What a person sees while a plan runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kmuctl import console
from kmuctl.console import Console
from kmuctl.model.host import Host
from kmuctl.model.step import Outcome, State, Step, Working


def nothing(host: Host) -> None:
    """Does not matter here."""


IMAGE = Step(name="image:caddy:2.11.7", check=lambda host: None, apply=nothing)
CADDY = Step(name="container:caddy", check=lambda host: None, apply=nothing, deadline=300)


def a_minute(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outcome | Working]:
    """Two steps that are heard of every second."""
    clock = 0.0
    monkeypatch.setattr(console, "monotonic", lambda: clock)
    while clock < 60:
        yield Working(IMAGE, "not on this machine", clock)
        if clock > 40:
            yield Working(CADDY, "caddy is starting", clock - 40)
        clock += 1
    yield Outcome(IMAGE, State.CHANGE, "not on this machine", seconds=60)
    yield Outcome(CADDY, State.OK)


def test_plain_progress_has_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """K44: also for work that keeps silent, like the download of an image."""
    outcomes = Console().follow(a_minute(monkeypatch), 2)
    assert [outcome.step for outcome in outcomes] == [IMAGE, CADDY]
    assert capsys.readouterr().err.splitlines() == [
        "wait    image:caddy:2.11.7  (not on this machine, 15 s)",
        "wait    image:caddy:2.11.7  (not on this machine, 30 s)",
        "wait    image:caddy:2.11.7  (not on this machine, 45 s)",
        "wait    container:caddy  (caddy is starting, 16 s of at most 300)",
        "change  image:caddy:2.11.7  (not on this machine)  60.0 s",
    ]


def test_live_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    Console().follow(a_minute(monkeypatch), 2)
    said = capsys.readouterr().err
    assert "2 of 2 steps" in said
    assert "change  image:caddy:2.11.7  (not on this machine)  60.0 s" in said


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(["name", "value"], [["@", "a" * 200], ["www", "[b]"]], "Records")
    assert capsys.readouterr().out == f"Records\nname  value\n@     {'a' * 200}\nwww   [b]\n\n"


def test_a_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(["name", "value"], [])
    assert capsys.readouterr().out == "name  value\n\n"
