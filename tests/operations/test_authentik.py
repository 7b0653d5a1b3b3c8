"""Blueprints: applied by Authentik itself, seen by their status, asked for when they changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmuctl.model.step import State
from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, bring, changed, go_up, plan, running, steps

LOGINS = "custom/20-logins.yaml"


def sent(host: FakeHost) -> list[str]:
    return [line for line in host.http.sent if "blueprints" in line]


def test_what_the_worker_applied_by_itself_is_not_asked_for() -> None:
    host = running()
    assert sent(host) == []
    assert not [name for name in changed(plan(host)) if name.startswith("blueprint:")]


def test_a_changed_login_is_applied_and_seen() -> None:
    """K35 U48: an app switched off takes its login with it."""
    host = running()
    assert plan(host, apps={"dozzle": False})["blueprint:20-logins"].state is State.BLOCKED
    outcome = go_up(host, apps={"dozzle": False})["blueprint:20-logins"]
    assert (outcome.state, outcome.cause) == (State.CHANGE, "Authentik has not applied it yet")
    assert sent(host) == ["POST /api/v3/managed/blueprints/20-logins.yaml/apply/"]
    assert changed(go_up(host, apps={"dozzle": False})) == set()


def test_a_blueprint_that_is_refused_says_which_entry_and_why() -> None:
    host = running()
    host.http.authentik.refuses[LOGINS] = "custom/20-logins.yaml: Entry invalid: grant_types: is required"
    outcome = go_up(host)["blueprint:20-logins"]
    assert outcome.state is State.FAILED
    assert outcome.cause == (
        "Authentik refuses 20-logins.yaml: custom/20-logins.yaml: Entry invalid: grant_types: is required"
    )


def test_what_authentik_made_of_its_own_after_ours_is_put_right() -> None:
    """An update of Authentik brings its brand and its password rule back; it looks at our content only."""
    host = running()
    host.http.authentik.update()
    assert plan(host)["blueprint:10-base"].cause == "Authentik applied its own `Default - Brand` after it"
    assert changed(go_up(host)) == {"blueprint:10-base"}
    assert changed(plan(host)) == set()


def test_a_deadlock_is_tried_again() -> None:
    """The worker may apply others at the same time."""
    host = running()
    host.http.authentik.update()
    host.http.authentik.deadlocks = 2
    assert go_up(host)["blueprint:10-base"].state is State.CHANGE
    host.http.authentik.update()
    host.http.authentik.deadlocks = 3
    assert "deadlock detected" in go_up(host)["blueprint:10-base"].cause


def test_a_token_that_authentik_does_not_know() -> None:
    host = running()
    host.http.authentik.token = "another"
    outcome = go_up(host)["blueprint:10-base"]
    assert (outcome.state, outcome.cause) == (State.FAILED, "Authentik refuses `AUTHENTIK_BOOTSTRAP_TOKEN`")
    assert "backup" in outcome.hint


@pytest.mark.parametrize("container", ["authentik-server", "authentik-worker"])
def test_a_plan_without_authentik_says_that_it_cannot_know(container: str) -> None:
    host = running()
    host.engine.stop("kmu", container)
    assert plan(host)["blueprint:10-base"].state is State.BLOCKED
    assert host.text(f"{FOLDER}/rendered/blueprints/10-base.yaml")


def test_an_outpost_that_is_not_connected_is_waited_for() -> None:
    """Mail knows nobody then."""
    host = running()
    host.http.authentik.cut_off = True
    assert plan(host)["outposts"].cause == "the outpost `ldap` is not connected"
    impatient = [replace(step, deadline=0) for step in steps(host)]
    outcome = bring(impatient, host)["outposts"]
    assert (outcome.state, outcome.cause) == (State.FAILED, "the outpost `ldap` is not connected")
