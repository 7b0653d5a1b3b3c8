"""Clocks that were set: back by a day or forward by a day, between two runs or before a file was written.

Whatever happened before, the second of two runs changes nothing, and no run waits for a moment that does not come.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

import pytest

from kmuctl.model.step import Outcome, State
from kmuctl.operations.certificates import fault
from kmuctl.operations.nextcloud import apps
from tests.fakes import FakeHost
from tests.fakes.certificates import issued
from tests.operations.scenes import FOLDER, changed, empty, go_up, plan, running, states

DAY = 86400
SET = {"back": -DAY, "forward": DAY}
ONE_APP: dict[str, Any] = {"nextcloud": {"apps": ["jitsi"]}}


def set_clock(monkeypatch: pytest.MonkeyPatch, host: FakeHost, seconds: int) -> None:
    """From here on the host's time, and kmuctl's, is another one."""
    host.clock += seconds
    monkeypatch.setattr(host, "now", lambda: float(host.clock))
    monkeypatch.setattr(apps, "time", lambda: float(host.clock))


def up(host: FakeHost, **changes: Any) -> dict[str, Outcome]:
    """Whoever waits for a moment that does not come fails at once."""
    return go_up(host, patient=False, **changes)


def settled_long_ago(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """All is well since days."""
    host = running()
    set_clock(monkeypatch, host, 10 * DAY)
    return host


def serials(host: FakeHost) -> dict[str, tuple[int, int]]:
    """Which containers these are, and since when they run."""
    return {name: (made.serial, made.started) for name, made in host.engine.made.items()}


@pytest.mark.parametrize("seconds", SET.values(), ids=SET)
def test_a_clock_that_was_set_restarts_nobody(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """K56: on a host where all was well."""
    host = settled_long_ago(monkeypatch)
    set_clock(monkeypatch, host, seconds)
    before, sent = serials(host), len(host.http.sent)
    for _ in range(2):
        assert changed(up(host)) == set()
    assert (serials(host), len(host.http.sent)) == (before, sent)


@pytest.mark.parametrize("seconds", SET.values(), ids=SET)
def test_a_change_after_the_clock_was_set_is_made_once(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Files of a changed site are older, or much newer, than the containers: those that read them start once."""
    host = settled_long_ago(monkeypatch)
    set_clock(monkeypatch, host, seconds)
    old = serials(host)
    outcomes = up(host, name="Another name")
    assert not states(outcomes, State.FAILED)
    assert "container:element" in changed(outcomes)
    after = serials(host)
    assert after["element"] != old["element"]
    assert changed(up(host, name="Another name")) == set()
    assert serials(host) == after


@pytest.mark.parametrize("seconds", SET.values(), ids=SET)
def test_a_first_start_under_a_wrong_clock_is_no_reason_for_another(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """The machine's time was wrong until its time service spoke: a day later, or earlier, nothing is done again."""
    host = empty()
    set_clock(monkeypatch, host, 10 * DAY + seconds)
    assert not states(up(host), State.FAILED)
    set_clock(monkeypatch, host, -seconds)
    before = serials(host)
    for _ in range(2):
        assert changed(up(host)) == set()
    assert serials(host) == before


def test_a_file_from_the_future_restarts_its_container_at_most_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written while the clock was a day ahead; when that day comes, the container has started before the file."""
    host = settled_long_ago(monkeypatch)
    set_clock(monkeypatch, host, DAY)
    path = f"{FOLDER}/rendered/element/config.json"
    content, made = host.read(path) or b"", host.engine.made["element"]
    host.write(path, b"{}")
    host.write(path, content)
    set_clock(monkeypatch, host, -DAY)
    host.engine.restart("kmu", "element")
    assert changed(up(host)) == set()
    set_clock(monkeypatch, host, 2 * DAY)
    assert changed(up(host)) == {"container:element"}
    started = made.started
    assert changed(up(host)) == set()
    assert made.started == started


@pytest.mark.parametrize("seconds", SET.values(), ids=SET)
def test_an_app_that_cannot_be_had_is_tried_once_under_the_new_time(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """K55: the note of the last attempt is from another day, or from tomorrow."""
    host = settled_long_ago(monkeypatch)
    host.http.nextcloud.store = set()
    up(host, **ONE_APP)
    set_clock(monkeypatch, host, seconds)
    assert changed(up(host, **ONE_APP)) == {"nextcloud:apps"}
    assert json.loads(host.http.nextcloud.values["kmuctl"]["apps"])["jitsi"]["at"] == pytest.approx(host.clock, abs=99)
    again = up(host, **ONE_APP)
    assert changed(again) == set()
    assert again["nextcloud:apps"].warning


@pytest.mark.parametrize("seconds", SET.values(), ids=SET)
def test_certificates_that_do_not_come_are_not_waited_for_by_a_clock_that_was_set(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """K8: Caddy is not young for a whole day because it started tomorrow."""
    host = empty()
    host.engine.certifies = False
    up(host)
    set_clock(monkeypatch, host, seconds)
    assert plan(host)["certs:issued"].state is State.OK
    assert changed(up(host)) == set()


def test_a_certificate_of_tomorrow_is_handed_on() -> None:
    """Where this clock is behind, it is good for everybody else; only one that is over is refused."""
    pair = issued("mail.acme.example")
    now = datetime.now(UTC)
    assert fault(pair, "mail.acme.example", now - timedelta(days=365)) is None
    assert fault(pair, "mail.acme.example", now + timedelta(days=365)) is not None


def test_an_update_of_tomorrow_does_not_have_blueprints_applied_for_ever() -> None:
    """K56: Authentik was updated while the clock was a day ahead; by its own clock that is still to come."""
    host = running()
    host.http.authentik.updated = int(time()) + DAY
    assert plan(host)["blueprint:10-base"].state is State.OK
    assert changed(up(host)) == set()
