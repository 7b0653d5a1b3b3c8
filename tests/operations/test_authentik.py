"""Blueprints: applied by Authentik itself, seen by their status, asked for when they changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kmuctl.model.host import Reply
from kmuctl.model.step import State
from kmuctl.operations.authentik import blueprints, upstream
from kmuctl.operations.authentik.api import Row
from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, bring, changed, go_up, plan, running, steps

LOGINS = "custom/20-logins.yaml"


def sent(host: FakeHost) -> list[str]:
    return [line for line in host.http.sent if "blueprints" in line and "PATCH" not in line]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (blueprints, upstream):
        monkeypatch.setattr(module, "PAUSE", 0.0)


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


REFUSAL = """{"event": "Imported related module", "logger": "authentik.blueprints.apps"}
Blueprint invalid
\tauthentik.blueprints.v1.importer: Entry invalid: Serializer errors {'sub_mode': [ErrorDetail(string='"x" is not a \
valid choice.', code='invalid_choice')]}: {'entry': {'model': 'authentik_providers_oauth2.oauth2provider', 'state': \
'present', 'conditions': [], 'identifiers': {'name': 'synapse'}, 'attrs': \
{'client_secret': 's3cret', 'sub_mode': 'x'}, 'permissions': [], \
'id': None, '_state': {'instance': None}}, 'schema_name': 'public', 'domain_url': None}
\tauthentik.blueprints.v1.importer: Blueprint validation failed: {'schema_name': 'public', 'domain_url': None}
"""
"""Of the real 2026.8.0, which shows every value of the entry."""


def test_a_blueprint_that_is_refused_says_which_entry_and_why() -> None:
    host = running()
    host.http.authentik.refuses[LOGINS] = REFUSAL
    outcome = go_up(host)["blueprint:20-logins"]
    assert outcome.state is State.FAILED
    assert outcome.cause == (
        "Authentik refuses 20-logins.yaml: authentik_providers_oauth2.oauth2provider {'name': 'synapse'}: "
        'sub_mode: "x" is not a valid choice.'
    )


def test_a_blueprint_that_takes_for_ever_is_told_as_that() -> None:
    host = running()
    host.http.authentik.endless = True
    outcome = go_up(host, name="Another")["blueprint:10-base"]
    assert outcome.cause == "Authentik did not finish 10-base.yaml within 10 minutes"
    assert "kmuctl logs authentik-worker" in outcome.hint


@pytest.mark.parametrize("said", ["[]", "{}", '[{"version": 1}]', '["x"]', "7"])
def test_nonsense_about_versions_is_named(said: str) -> None:
    host = running()
    host.http.authentik.versions = said
    outcome = plan(host)["blueprint:10-base"]
    assert outcome.state is State.FAILED
    assert outcome.cause.startswith("Authentik's list of its versions says something unexpected: ")


def test_an_update_of_authentik_is_followed_by_ours() -> None:
    """It may bring other foundations; ours, which it does not apply again by itself, are built on them."""
    host = running()
    host.http.authentik.update()
    assert plan(host)["blueprint:10-base"].cause == "Authentik was updated to 2026.8.6 after it"
    assert changed(go_up(host)) == {"blueprint:10-base", "blueprint:20-logins", "blueprint:30-ldap"}
    assert changed(plan(host)) == set()


def test_its_own_that_collide_with_ours_are_switched_off_once_it_rests() -> None:
    """K35: a busy worker applies in any order, and cannot answer for a blueprint's path."""
    host = running()
    authentik = host.http.authentik
    authentik.disabled.clear()
    authentik.undiscovered, authentik.busy = 3, 3
    host.http.sent.clear()
    assert go_up(host)["authentik:defaults"].cause == "Authentik is setting itself up"
    assert (authentik.disabled, len(host.http.sent)) == (set(upstream.COLLIDING), 3)
    authentik.busy = 4
    assert plan(host)["authentik:defaults"].cause == "Authentik is applying its blueprints"
    assert go_up(host)["authentik:defaults"].state is State.CHANGE
    assert changed(go_up(host)) == set()
    assert len(host.http.sent) == 3


def test_a_worker_without_time_for_a_question_is_asked_again() -> None:
    """Seen: 405 after ten seconds."""
    host = running()
    authentik = host.http.authentik
    authentik.disabled, authentik.hurried = set(), 2
    assert go_up(host)["authentik:defaults"].state is State.CHANGE
    authentik.disabled, authentik.hurried = set(), 3
    assert go_up(host)["authentik:defaults"].cause == "Authentik answers 405: nothing"


def test_one_of_ours_that_somebody_switched_off_is_switched_on() -> None:
    """Else the next change of it would never arrive."""
    host = running()
    host.http.authentik.disabled.add("custom/20-logins.yaml")
    assert plan(host)["blueprint:20-logins"].cause.startswith("somebody switched it off")
    assert changed(go_up(host)) == {"blueprint:20-logins"}
    assert changed(plan(host)) == set()
    host.http.authentik.disabled.add("custom/20-logins.yaml")
    assert go_up(host, name="Another")["blueprint:20-logins"].state is State.CHANGE
    assert changed(plan(host, name="Another")) == set()


def test_a_worker_that_never_rests_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    host = running()
    host.http.authentik.busy = 1_000
    monkeypatch.setattr(upstream, "PATIENCE", 3)
    outcome = go_up(host)["authentik:defaults"]
    assert outcome.state is State.FAILED
    assert outcome.cause.startswith("Authentik is applying its blueprints, for")
    assert "authentik-worker" in outcome.hint


def test_a_task_that_failed_is_not_waited_for() -> None:
    """It is tried again in minutes, then in hours."""
    host = running()
    host.http.authentik.retrying = True
    assert changed(go_up(host)) == set()


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
    outcome = go_up(host)["authentik:defaults"]
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
    assert plan(host)["authentik:outposts"].cause == "the outpost `ldap` is not connected"
    impatient = [replace(step, deadline=0) for step in steps(host)]
    outcome = bring(impatient, host)["authentik:outposts"]
    assert (outcome.state, outcome.cause) == (State.FAILED, "the outpost `ldap` is not connected")


def test_a_blueprint_that_makes_authentik_stumble_says_how_it_ended() -> None:
    """Seen: the removal of a stage's binding that is not there."""
    host = running()
    host.http.authentik.refuses[LOGINS] = "Traceback (most recent call last):\n  File x\nValueError: no such thing"
    assert go_up(host)["blueprint:20-logins"].cause == "Authentik refuses 20-logins.yaml: ValueError: no such thing"


@pytest.mark.parametrize(
    ("status", "said"), [(500, "Authentik answers 500: away"), (404, "Authentik answers 404: away")]
)
def test_an_error_is_told_as_it_came(status: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = running()
    monkeypatch.setattr(host.http.authentik, "answer", lambda call: Reply(status, "away"))
    outcome = go_up(host)["authentik:defaults"]
    assert (outcome.state, outcome.cause) == (State.FAILED, said)


def objects(host: FakeHost) -> Callable[..., Row]:
    return host.http.authentik.objects.the


OAUTH, PROXY = "authentik_providers_oauth2.oauth2provider", "authentik_providers_proxy.proxyprovider"
OUTPOST, BINDING = "authentik_outposts.outpost", "authentik_policies.policybinding"
APPLICATION = "authentik_core.application"
RULE = ("authentik_policies_password.passwordpolicy", {"name": "default-password-change-password-policy"})
EMBEDDED = (OUTPOST, {"managed": "goauthentik.io/outposts/embedded"})
LOGIN = ("authentik_stages_user_login.userloginstage", {"name": "default-authentication-login"})
HAND_MADE: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "another address to come back to": (
        OAUTH, {"name": "nextcloud"}, {"redirect_uris": []}, "oauth2provider `nextcloud` has another `redirect_uris`",
    ),
    "another secret": (
        OAUTH, {"name": "synapse"}, {"client_secret": "x"}, "oauth2provider `synapse` has another `client_secret`",
    ),
    "no claims": (
        OAUTH, {"name": "nextcloud"}, {"property_mappings": []},
        "oauth2provider `nextcloud` has another `property_mappings`",
    ),
    "another host": (
        PROXY, {"name": "dozzle"}, {"external_host": "https://x.example"},
        "proxyprovider `dozzle` has another `external_host`",
    ),
    "an outpost without its providers": (
        *EMBEDDED, {"providers": []}, "outpost `goauthentik.io/outposts/embedded` has another `providers`",
    ),
    "another address of the sign-on": (
        *EMBEDDED, {"config": {"authentik_host": "http://localhost"}},
        "outpost `goauthentik.io/outposts/embedded` has another `config`",
    ),
    "a weaker password": (
        *RULE, {"length_min": 8}, "passwordpolicy `default-password-change-password-policy` has another `length_min`",
    ),
    "endless sessions": (
        *LOGIN, {"session_duration": "seconds=0"},
        "userloginstage `default-authentication-login` has another `session_duration`",
    ),
    "another brand": (
        "authentik_brands.brand", {"domain": "authentik-default"}, {"branding_title": "x"},
        "brand `authentik-default` has another `branding_title`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "wanted", "change", "cause"), HAND_MADE.values(), ids=HAND_MADE)
def test_a_hand_made_change_is_seen_and_put_right(
    model: str, wanted: dict[str, Any], change: dict[str, Any], cause: str
) -> None:
    """K35-K39, K106: neither its status nor the digest of a blueprint shows it."""
    host = running()
    objects(host)(model, **wanted).update(change)
    assert plan(host)["authentik:settings"].cause == cause
    assert changed(go_up(host)) == {"authentik:settings"}
    assert changed(plan(host)) == set()


def test_what_is_removed_by_hand_comes_back() -> None:
    host = running()
    rows = host.http.authentik.objects.rows[BINDING]
    open_to_all = [row for row in rows if "dozzle" in str(row["target"])] or rows[:1]
    rows.remove(open_to_all[0])
    assert plan(host)["authentik:settings"].cause.startswith("policybinding `")
    assert plan(host)["authentik:settings"].cause.endswith(" is missing")
    assert changed(go_up(host)) == {"authentik:settings"}


def test_who_else_may_open_an_administrators_page_is_told() -> None:
    """K39: kmuctl takes nothing away that it did not give, but one more group bound to it is enough to be let in."""
    host = running()
    [key] = [row["pk"] for row in host.http.authentik.objects.rows[APPLICATION] if row["slug"] == "dozzle"]
    host.http.authentik.objects.rows[BINDING].append({"pk": "by-hand", "target": key, "group": "kmu-users", "order": 9})
    outcome = go_up(host)["authentik:settings"]
    assert outcome.state is State.OK
    assert outcome.warning.startswith("who may open `dozzle` is not kmuctl's alone to say")


def test_mail_finds_whose_address_was_typed_with_capitals() -> None:
    """Stalwart asks in small letters, Authentik compares letter by letter: mail would come back as refused."""
    host = running()
    people = host.http.authentik.people
    people |= {7: {"pk": 7, "username": "erika", "email": "Erika@acme.example"}}
    people |= {8: {"pk": 8, "username": "max", "email": "max@acme.example"}}
    assert plan(host)["authentik:addresses"].cause == "mail would not find erika, whose address has capitals"
    assert changed(go_up(host)) == {"authentik:addresses"}
    assert [person["email"] for person in people.values()] == ["erika@acme.example", "max@acme.example"]
    assert changed(plan(host)) == set()
    assert "authentik:addresses" not in go_up(host, apps={"stalwart": False})


def test_what_an_app_that_is_switched_off_left_behind_is_seen() -> None:
    host = running()
    go_up(host, apps={"dozzle": False})
    objects(host)("authentik_core.application", slug="dozzle")
    assert plan(host, apps={"dozzle": False})["authentik:settings"].cause == "application `dozzle` is still there"
    go_up(host, apps={"dozzle": False})
    assert changed(plan(host, apps={"dozzle": False})) == set()


def test_what_is_not_ours_is_left_alone() -> None:
    """People, their groups, and applications of the company's own."""
    host = running()
    the = objects(host)
    the("authentik_core.group", name="sales")
    the("authentik_core.application", slug="shop")
    the("authentik_core.user", username="mmustermann")["name"] = "Max M."
    the("authentik_stages_user_login.userloginstage", name="kmu-recovery-login")["remember_me_offset"] = "days=1"
    assert changed(plan(host)) == set()
