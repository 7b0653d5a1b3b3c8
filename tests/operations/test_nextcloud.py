"""Nextcloud once it runs: apps, settings, sign-on, the way in for emergencies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmuctl.model.secrets import parse
from kmuctl.model.step import State
from kmuctl.operations.caddy import ca_certificate
from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, changed, empty, forget, go_up, plan, running, states
from tests.support import stack

APPS = "nextcloud:apps"
SETTINGS = "nextcloud:settings"
BREAK_GLASS = "nextcloud:break-glass"


def sent(host: FakeHost) -> list[str]:
    return [line.removeprefix("nextcloud: ") for line in host.http.sent if line.startswith("nextcloud: ")]


def secret(host: FakeHost, name: str) -> str:
    return parse(host.text(f"{FOLDER}/secrets.env"), host.read, path="")[name].reveal()


def test_the_first_run_sets_everything_up() -> None:
    """K51, K53, K55, K68: apps, cron, the provider with our secret, local login out of the way."""
    host, nextcloud = running(), running().http.nextcloud
    assert nextcloud.enabled == {
        "files", "user_oidc", "calendar", "contacts", "mail", "deck", "groupfolders", "collectives", "tables",
    }  # fmt: skip
    assert nextcloud.values["core"]["backgroundjobs_mode"] == "cron"
    assert nextcloud.values["user_oidc"]["allow_multiple_user_backends"] == "0"
    assert (nextcloud.secret, nextcloud.indices) == (secret(host, "nextcloud_oidc_secret"), 3)
    [provider] = nextcloud.providers
    assert (provider["identifier"], provider["clientId"]) == ("authentik", "nextcloud")
    assert provider["discoveryEndpoint"] == (
        "https://auth.acme.example/application/o/nextcloud/.well-known/openid-configuration"
    )
    assert provider["scope"] == "openid email profile nextcloud"
    assert provider["settings"] == {
        "uniqueUid": False, "mappingUid": "user_id", "mappingDisplayName": "name", "mappingEmail": "email",
        "mappingQuota": "quota", "mappingGroups": "groups", "groupProvisioning": True,
        "groupWhitelistRegex": "/^(admin|kmu-.*)$/", "checkBearer": False, "bearerProvisioning": False,
    }  # fmt: skip


def test_a_second_run_looks_twice_and_sends_nothing() -> None:
    """K56: each start of occ costs, so one look is one batch."""
    host = running()
    before = sent(host)
    host.http.nextcloud.looks = 0
    assert changed(go_up(host)) == set()
    assert (sent(host), host.http.nextcloud.looks) == (before, 2)


def test_no_secret_is_in_a_command() -> None:
    """K31: arguments are shown to everybody who may list processes."""
    host = running()
    host.http.nextcloud.password = "another"
    go_up(host)
    values = parse(host.text(f"{FOLDER}/secrets.env"), host.read, path="").values()
    assert [line for line in host.http.sent for value in values if value.reveal() in line] == []


def test_an_app_that_the_store_does_not_have_is_told_each_time_and_tried_once() -> None:
    """K55, K81: a finding, not a failure; the other apps are there."""
    host = running()
    host.http.nextcloud.store = {"external"}
    wanted: dict[str, Any] = {"nextcloud": {"apps": ["jitsi", "external"]}}
    first = go_up(host, **wanted)[APPS]
    assert (first.state, first.cause) == (State.CHANGE, "to install: jitsi, external")
    assert "`jitsi`: Could not download app jitsi, it was not found on the appstore" in first.warning
    assert "`kmuctl occ app:enable jitsi`" in first.warning
    assert "external" in host.http.nextcloud.enabled
    before = sent(host)
    again = go_up(host, **wanted)
    assert (changed(again), sent(host), again[APPS].warning) == (set(), before, first.warning)
    assert plan(host, **wanted)[APPS].warning == first.warning


def test_an_app_is_tried_again_with_another_nextcloud_and_after_a_day() -> None:
    """K55."""
    host = running()
    host.http.nextcloud.store = set()
    wanted: dict[str, Any] = {"nextcloud": {"apps": ["jitsi"]}}
    go_up(host, **wanted)
    host.http.nextcloud.version = "34.0.5"
    assert plan(host, **wanted)[APPS].cause == "to install: jitsi"
    host.http.nextcloud.version = "34.0.4"
    assert plan(host, **wanted)[APPS].state is State.OK
    notes = json.loads(host.http.nextcloud.values["kmuctl"]["apps"])
    notes["jitsi"]["at"] -= 86400
    host.http.nextcloud.values["kmuctl"]["apps"] = json.dumps(notes)
    assert plan(host, **wanted)[APPS].cause == "to install: jitsi"


def test_a_store_that_cannot_be_reached_is_asked_again_when_it_answers() -> None:
    """K55: until then nothing is sent; then the mark goes that would keep Nextcloud from asking."""
    host = running()
    host.http.nextcloud.reachable = False
    wanted: dict[str, Any] = {"nextcloud": {"apps": ["drawio", "external"]}}
    outcome = go_up(host, **wanted)[APPS]
    assert "drawio, external: the app store cannot be reached from the container" in outcome.warning
    before = sent(host)
    assert changed(go_up(host, **wanted)) == set()
    assert sent(host) == before
    host.http.nextcloud.reachable = True
    outcomes = go_up(host, **wanted)
    assert (changed(outcomes), outcomes[APPS].warning) == ({APPS, SETTINGS}, "")
    assert "config:app:delete settings appstore-fetcher-lastFailure -n" in sent(host)


def test_without_the_sign_on_it_fails_and_says_what_to_do() -> None:
    """K53, K115: nobody could come in."""
    host = empty()
    host.http.nextcloud.reachable = False
    outcomes = go_up(host)
    assert outcomes[APPS].state is State.FAILED
    assert outcomes[APPS].cause.startswith("nobody can sign in without Nextcloud's app `user_oidc`: Could not download")
    assert "unpack the release of `user_oidc` into custom_apps" in outcomes[APPS].hint
    assert outcomes[SETTINGS].state is State.BLOCKED
    host.http.nextcloud.reachable = True
    assert {APPS, SETTINGS} <= changed(go_up(host))
    assert changed(go_up(host)) == set()


def test_an_app_that_was_switched_off_comes_back_and_a_foreign_one_stays() -> None:
    """K55, K56."""
    host = running()
    host.http.nextcloud.enabled ^= {"calendar", "forms", "app_api"}
    outcome = go_up(host)[APPS]
    assert outcome.cause == "to install: calendar; to switch off: app_api"
    assert {"calendar", "forms"} <= host.http.nextcloud.enabled
    assert "app_api" not in host.http.nextcloud.enabled


def test_an_app_that_left_the_site_file_is_left_alone() -> None:
    """K55: it may hold data."""
    host = running()
    assert changed(go_up(host, nextcloud={"apps": ["calendar"]})) == {"site"}
    assert "deck" in host.http.nextcloud.enabled


def test_the_meeting_app_knows_our_server() -> None:
    """K81: only where the site lists it and the store has it; no token secret, which would make hosts of guests."""
    host = running()
    go_up(host, nextcloud={"apps": ["jitsi"]})
    assert host.http.nextcloud.values["jitsi"] == {"jitsi_server_url": "https://meet.acme.example/"}
    assert "jitsi" not in running().http.nextcloud.values


@pytest.mark.parametrize(
    ("option", "value", "cause"),
    [
        ("scope", "openid", "sign-on: scope changed"),
        ("clientId", "other", "sign-on: clientid changed"),
        ("discoveryEndpoint", "https://evil.example/", "sign-on: discoveryuri changed"),
    ],
)
def test_a_provider_changed_by_hand_is_put_right(option: str, value: str, cause: str) -> None:
    """K53, K56, K115."""
    host = running()
    [provider] = host.http.nextcloud.providers
    wanted = provider[option]
    provider[option] = value
    assert plan(host)[SETTINGS].cause == cause
    before = sent(host)
    assert changed(go_up(host)) == {SETTINGS}
    assert (provider[option], len(sent(host))) == (wanted, len(before) + 1)
    assert changed(plan(host)) == set()


def test_claims_changed_by_hand_are_put_right() -> None:
    """K53: groups that everybody may take would make administrators."""
    host = running()
    [provider] = host.http.nextcloud.providers
    provider["settings"] |= {"groupWhitelistRegex": "", "uniqueUid": True}
    assert go_up(host)[SETTINGS].cause == "sign-on: unique-uid, group-whitelist-regex changed"
    assert provider["settings"]["groupWhitelistRegex"] == "/^(admin|kmu-.*)$/"


def test_a_provider_made_anew_by_hand_gets_our_secret() -> None:
    """K53: the secret cannot be read back, but the number is another."""
    host = running()
    [provider] = host.http.nextcloud.providers
    provider["id"], host.http.nextcloud.secret = 7, "guessed"
    assert go_up(host)[SETTINGS].cause == "sign-on: its secret changed"
    assert host.http.nextcloud.secret == secret(host, "nextcloud_oidc_secret")


def test_a_rotated_client_secret_reaches_nextcloud() -> None:
    """K53, K56."""
    host = running()
    text = host.text(f"{FOLDER}/secrets.env")
    new = text.replace(secret(host, "nextcloud_oidc_secret"), "Rotated" * 6)
    host.write(f"{FOLDER}/secrets.env", new.encode(), mode=0o600)
    assert SETTINGS in changed(go_up(host))
    assert host.http.nextcloud.secret == "Rotated" * 6
    assert changed(go_up(host)) == set()


def test_other_settings_of_an_admin_stay() -> None:
    """K56: what is ours is listed; the rest is theirs."""
    host = running()
    host.http.nextcloud.system["session_lifetime"] = "3600"
    host.http.nextcloud.values["files_sharing"] = {"outgoing_server2server_share_enabled": "no"}
    assert changed(go_up(host)) == set()


def test_a_value_that_is_not_in_effect_is_named() -> None:
    """K52, K54: whatever overrules the file."""
    host = running()
    host.http.nextcloud.system |= {"trusted_proxies": "array('0.0.0.0/0')", "memcache.locking": ""}
    outcome = go_up(host)[SETTINGS]
    assert outcome.cause == "not in effect: memcache.locking, trusted_proxies"
    assert "10-install-config.sh" in sent(host)[-1]


def test_new_versions_may_lack_indices() -> None:
    """K56: looked for when a version changed, not each time."""
    host = running()
    host.http.nextcloud.system["version"] = "34.0.5.1"
    before = host.http.nextcloud.indices
    assert go_up(host)[SETTINGS].cause == "versions changed: the database may lack indices"
    assert host.http.nextcloud.indices == before + 3
    assert changed(go_up(host)) == set()


def test_mail_that_is_switched_off_leaves_no_password_behind() -> None:
    """K50: but a mail server of the admin's own stays."""
    host = running()
    assert host.http.nextcloud.system["mail_smtphost"] == "mail.acme.example"
    go_up(host, apps={"stalwart": False})
    assert [key for key in host.http.nextcloud.system if key.startswith("mail_")] == []
    host.http.nextcloud.system["mail_smtphost"] = "smtp.provider.example"
    assert changed(go_up(host, apps={"stalwart": False})) == set()


def test_a_relay_that_is_taken_away_leaves_no_password_behind() -> None:
    """K50, L20."""
    host = running()
    off: dict[str, Any] = {"apps": {"stalwart": False}}
    relay: dict[str, Any] = {"mail": {"relay": {"host": "smtp.provider.example", "username": "acme"}}}
    path = f"{FOLDER}/secrets.env"
    host.write(path, host.text(path).encode() + b"MAIL_RELAY_PASSWORD=pass-word\n", mode=0o600)
    assert not states(go_up(host, **off, **relay), State.FAILED)
    assert host.http.nextcloud.system["mail_smtphost"] == "smtp.provider.example"
    assert changed(plan(host, **off, **relay)) == set()
    go_up(host, **off)
    assert [key for key in host.http.nextcloud.system if key.startswith("mail_")] == []
    assert changed(plan(host, **off)) == set()


def test_the_way_in_for_emergencies_is_proven_and_mended() -> None:
    """K68: a password that was changed by hand, or rights that were taken away, would be noticed in need only."""
    host = running()
    host.http.nextcloud.password = "changed by hand"
    assert changed(go_up(host)) == {BREAK_GLASS}
    assert host.http.nextcloud.password == secret(host, "nextcloud_admin_password")
    host.http.nextcloud.admins.clear()
    assert go_up(host)[BREAK_GLASS].cause == "`kmu-break-glass` is no admin"
    assert changed(go_up(host)) == set()


def test_a_maintenance_mode_is_told_and_left_alone() -> None:
    """K56: somebody is at work."""
    host = running()
    host.http.nextcloud.maintenance = True
    before = sent(host)
    outcomes = go_up(host)
    assert "Nextcloud is in maintenance mode" in outcomes["nextcloud:ready"].cause
    assert "kmuctl occ maintenance:mode --off" in outcomes["nextcloud:ready"].hint
    assert (outcomes[SETTINGS].state, sent(host)) == (State.BLOCKED, before)
    assert plan(host)[SETTINGS].cause == "can be seen after Nextcloud's maintenance"


def test_a_database_that_waits_for_an_upgrade_is_told() -> None:
    host = running()
    host.http.nextcloud.upgrade = True
    assert "`kmuctl occ upgrade`" in go_up(host)["nextcloud:ready"].hint


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("FATAL: Could not open the config file /var/www/html/config/config.php\n", "FATAL: Could not open the config"),
        ("PHP Warning:  require(lib/versioncheck.php): Failed to open stream\n", "PHP Warning:  require"),
        ("\n", "no JSON"),
    ],
)
def test_what_occ_says_instead_of_an_answer_is_told(said: str, told: str) -> None:
    """K56: an unreadable configuration ends with code 0; while the image copies the code there are errors of PHP."""
    host = running()
    host.http.nextcloud.says = said
    outcome = go_up(host)[APPS]
    assert outcome.state is State.FAILED
    assert told in outcome.cause


def test_complaints_before_an_answer_do_no_harm() -> None:
    from kmuctl.operations.nextcloud.occ import json_of

    assert json_of('PHP Deprecated:  something in x.php\n{"enabled": {}}\n') == {"enabled": {}}


def test_a_plan_without_nextcloud_says_that_it_cannot_know() -> None:
    host = running()
    host.engine.stop("kmu", "nextcloud")
    outcomes = plan(host)
    assert {outcomes[name].state for name in (APPS, SETTINGS, BREAK_GLASS)} == {State.BLOCKED}


def test_the_stacks_own_authority_is_trusted() -> None:
    """K53: Nextcloud asks its own list, and would find no provider otherwise."""
    site = stack(tls={"mode": "internal"})
    host = running()
    assert plan(host, tls={"mode": "internal"})["nextcloud:trust"].state is State.BLOCKED
    host.write(ca_certificate(site), b"PEM")
    assert plan(host, tls={"mode": "internal"})["nextcloud:trust"].cause == "it is not trusted yet"
    host.write(f"{FOLDER}/data/nextcloud/html/data/files_external/uploads/kmu-root.crt", b"PEM")
    assert plan(host, tls={"mode": "internal"})["nextcloud:trust"].state is State.OK


def test_a_site_without_nextcloud_has_none_of_it() -> None:
    forget()
    assert not [name for name in plan(empty(), apps={"nextcloud": False}) if name.startswith("nextcloud:")]
