"""Nextcloud after `up`: who comes in and how, what a second run sends, what becomes of an installation cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.lab.stack import LabSite, docker, eventually, health, inside, name_of
from tests.lab.test_database import connect

pytestmark = pytest.mark.lab
READING = ("app:list", "config:list", "config:app:get", "user_oidc:providers", "lastcron", "status.php")


@contextmanager
def commands() -> Iterator[list[str]]:
    """What is run inside Nextcloud's container meanwhile."""
    begin, seen = time(), list[str]()
    yield seen
    words = ("--since", f"{begin:.3f}", "--until", f"{time():.3f}", "--filter", f"container={name_of('nextcloud')}")
    lines = docker("events", *words, "--format", "{{.Action}}").splitlines()
    seen += [line for line in lines if line.startswith("exec_create:") and "occ" in line]


def base(site: LabSite) -> psycopg.Connection:
    return connect("nextcloud", "nextcloud", site.secrets()["nextcloud_db_password"])


def occ(site: LabSite, *words: str) -> Any:
    done = site.kmuctl("occ", *words, "--output=json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_second_run_sends_nothing(site: LabSite) -> None:
    """K56: two commands, which only read; a start of occ is dear."""
    with commands() as seen:
        assert site.up()["steps"] == []
    assert len(seen) == 2
    assert all(any(word in line for word in READING) for line in seen)


def signed_in(site: LabSite, browser: httpx.Client) -> dict[str, Any]:
    """From Nextcloud's login to the sign-on and back; what it makes of the person."""
    answer = browser.get(site.url("cloud", "/login"), follow_redirects=True)
    assert urlsplit(str(answer.url)).path == "/apps/user_oidc/code", answer.text
    account: dict[str, Any] = answer.json()
    return account


def test_a_person_signs_in_with_the_one_account(site: LabSite, person: httpx.Client) -> None:
    """K53, K68: over TLS that both believe; admins are admins."""
    seen = signed_in(site, person)
    assert seen["user"] == site.stack.site.admin.username
    assert seen["groups"] == ["admin", "kmu-admins", "kmu-users"]


def test_the_local_login_is_out_of_the_way_but_there(site: LabSite) -> None:
    """K68: /login leads to the sign-on; `?direct=1` has the form, and the password of the secrets file opens it."""
    assert site.get("cloud", "/login").headers["location"].startswith("/apps/user_oidc/login/")
    assert "login-form" in site.get("cloud", "/login?direct=1").text
    for password, led_to in ((site.secrets()["nextcloud_admin_password"], "/apps/dashboard/"), ("wrong", "/login")):
        with site.browser() as browser:
            form = {"user": "kmu-break-glass", "password": password}
            answer = browser.post(site.url("cloud", "/login"), data=form)
        assert urlsplit(answer.headers["location"]).path == led_to


def test_a_provider_changed_by_hand_is_put_right(site: LabSite) -> None:
    """K53, K56, K115."""
    occ(site, "user_oidc:providers")
    done = site.kmuctl("occ", "user_oidc:provider", "authentik", "--clientid=other", "--mapping-uid=sub")
    assert done.returncode == 0, done.stdout
    assert site.plan() == {"nextcloud:settings": "sign-on: clientid, mapping-uid changed"}
    assert {step["step"] for step in site.up()["steps"]} == {"nextcloud:settings"}
    seen = occ(site, "user_oidc:provider", "authentik")
    assert (seen["clientId"], seen["settings"]["mappingUid"]) == ("nextcloud", "user_id")


def test_an_app_that_cannot_be_had_is_a_warning(site: LabSite) -> None:
    """K55, K81: told each time, tried once; `up` succeeds."""
    with site.edited("nextcloud", apps=["jitsi", "calendar"]):
        first = site.up()
        assert "nextcloud:apps" in {step["step"] for step in first["steps"]}
        assert "`jitsi`" in first["warnings"][0]
        again = site.up()
        assert (again["steps"], again["warnings"]) == ([], first["warnings"])
    site.up()


def test_a_password_changed_by_hand_does_not_shut_the_way_in(site: LabSite) -> None:
    """K68."""
    with base(site) as database:
        database.execute("UPDATE oc_users SET password = 'x' WHERE uid = 'kmu-break-glass'")
    assert {step["step"] for step in site.up()["steps"]} == {"nextcloud:break-glass"}
    assert site.up()["steps"] == []


def test_an_installation_that_was_cut_off_is_finished(site: LabSite) -> None:
    """K51: the image itself never tries again; what was there goes aside, where nobody has worked yet."""
    with base(site) as database:
        database.execute("DELETE FROM oc_appconfig WHERE configkey = 'lastcron'")
        database.execute("DELETE FROM oc_users WHERE uid <> 'kmu-break-glass'")
    config = site.folder / "data/nextcloud/html/config/config.php"
    config.write_text(config.read_text().replace("'installed' => true", "'installed' => false"))
    docker("restart", name_of("nextcloud"))
    eventually(lambda: health("nextcloud") == "healthy", within=120, what="installed again")
    docker("restart", name_of("nextcloud-cron"))  # which would not have started yet
    eventually(lambda: health("nextcloud-cron") == "healthy", within=60, what="jobs run again")
    assert {"nextcloud:apps", "nextcloud:settings"} <= {step["step"] for step in site.up()["steps"]}
    assert occ(site, "status")["installed"] is True
    with base(site) as database:
        rows = database.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'abandoned%'").fetchall()
    assert len(rows) == 1
    assert site.up()["steps"] == []


def test_an_installation_whose_configuration_was_lost_is_not_done_again(site: LabSite) -> None:
    """K51: its jobs have run, there are accounts: something to lose."""
    config = site.folder / "data/nextcloud/html/config/config.php"
    before = config.read_text()
    with base(site) as database:
        database.execute("INSERT INTO oc_users (uid, backend) VALUES ('anna', 'user_oidc')")
    config.write_text(before.replace("'installed' => true", "'installed' => false"))
    try:
        script = "/docker-entrypoint-hooks.d/before-starting/20-finish.sh"
        done = inside("nextcloud", "setpriv", "--reuid=33", "--regid=33", "--clear-groups", script)
        assert done.returncode == 1
        assert "put config/config.php back from your backup" in done.stderr
        assert (config.parent.parent / "version.php").exists()
    finally:
        config.write_text(before)
