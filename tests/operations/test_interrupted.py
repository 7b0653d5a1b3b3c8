"""Runs that are cut off at any change, by a kill or a broken connection: the next `up` finishes the work, once."""

from __future__ import annotations

import pytest

from kmuctl.model.step import State
from tests.fakes import FakeHost
from tests.operations.cutting import WAYS, every_cut, only
from tests.operations.scenes import FOLDER, bring, changed, plan, running, states, steps

ODD = {
    "name": "odd", "protocol": "smtp", "bind": {"[::]:2525": True}, "useTls": False, "tlsImplicit": False,
}  # fmt: skip
MARK = f"{FOLDER}/state/stalwart.unloaded"
KEY = f"{FOLDER}/state/stalwart.key"
STALWART = ("stalwart:setup", "container:stalwart", "stalwart:settings", "certs:mail", "certs:mail:served")


def without_stalwart() -> FakeHost:
    """Before its first start: no container, an empty database, no key to it."""
    host = running()
    host.engine.remove("kmu", ["stalwart"])
    host.remove(KEY)
    host.http.stalwart.forget()
    return host


def rows(host: FakeHost) -> dict[str, int]:
    """How many objects of each type Stalwart has; keys for signatures it makes by itself, in its own time."""
    with host.http.stalwart.service.store.transaction() as tables:
        return {name: len(found) for name, found in tables.items() if found and name != "x:DkimSignature"}


@pytest.mark.parametrize("way", WAYS)
def test_a_set_up_of_stalwart_that_is_cut_off_anywhere_is_finished_by_the_next_up(way: str) -> None:
    """K56: nothing twice, nothing left out, no way in left open, and only one key."""
    mine, wanted = only(steps(running()), STALWART), rows(running())
    for where, host in every_cut(mine, without_stalwart, way):
        assert not states(bring(mine, host), State.FAILED), where
        assert rows(host) == wanted, where
        assert host.read(MARK) is None, where
        assert "STALWART_RECOVERY_ADMIN" not in host.engine.made["stalwart"].definition["environment"], where
        assert changed(bring(mine, host)) == set(), where


def with_stalwart_spoilt() -> FakeHost:
    """Its settings differ in many places: changed, missing, and too many."""
    host = running()
    stalwart = host.http.stalwart
    [domain], [directory], [hook] = (stalwart.rows(name) for name in ("Domain", "Directory", "WebHook"))
    imaps = next(key for key, row in stalwart.rows("NetworkListener").items() if row["name"] == "imaps")
    stalwart.change("Domain", update={domain: {"description": "By hand"}})
    stalwart.change("Directory", update={directory: {"baseDn": "dc=elsewhere"}})
    stalwart.change("Http", update={"singleton": {"useXForwarded": False}})
    stalwart.change("WebHook", destroy=[hook])
    stalwart.change("NetworkListener", destroy=[imaps], create=[ODD])
    stalwart.change("AllowedIp", create=[{"address": "203.0.113.9", "reason": "container network"}])
    return host


@pytest.mark.parametrize("way", WAYS)
def test_settings_of_stalwart_that_are_cut_off_anywhere_are_finished_by_the_next_up(way: str) -> None:
    """K56: whatever was written is also loaded, and no listener waits for a restart that nobody remembers."""
    mine, wanted = only(steps(running()), STALWART), rows(running())
    old = running().engine.made["stalwart"].started
    for where, host in every_cut(mine, with_stalwart_spoilt, way):
        assert not states(bring(mine, host), State.FAILED), where
        assert [line.split()[-1] for line in host.http.sent if "/jmap" in line][-1] == "x:Action/set", where
        assert host.engine.made["stalwart"].started > old, where
        assert rows(host) == wanted, where
        assert host.read(MARK) is None, where
        assert changed(plan(host)) == set(), where


NEXTCLOUD = ("nextcloud:ready", "nextcloud:break-glass", "nextcloud:apps", "nextcloud:settings")


def with_nextcloud_fresh() -> FakeHost:
    """Installed by its image, and nothing more."""
    host = running()
    nextcloud = host.http.nextcloud
    nextcloud.enabled = {"files", "app_api"}
    nextcloud.providers, nextcloud.values, nextcloud.password = [], {"core": {}}, "of the image"
    nextcloud.secret, nextcloud.indices = "", 0
    return host


@pytest.mark.parametrize("way", WAYS)
def test_settings_of_nextcloud_that_are_cut_off_anywhere_are_finished_by_the_next_up(way: str) -> None:
    """K55 K56: one provider with our secret, all apps, and indices that were really looked for."""
    good = running()
    mine, wanted = only(steps(good), NEXTCLOUD), good.http.nextcloud
    for where, host in every_cut(mine, with_nextcloud_fresh, way):
        assert not states(bring(mine, host), State.FAILED), where
        found = host.http.nextcloud
        assert (found.enabled, found.values) == (wanted.enabled, wanted.values), where
        assert (found.providers, found.secret, found.password) == (wanted.providers, wanted.secret, wanted.password)
        assert found.indices >= wanted.indices, where
        assert changed(plan(host)) == set(), where


@pytest.mark.parametrize("way", WAYS)
def test_an_administrator_of_synapse_is_made_once_whatever_happens(way: str) -> None:
    """K67: also when nobody heard that it was made."""

    def scene() -> FakeHost:
        host = running()
        host.http.synapse.users.clear()
        return host

    mine = only(steps(running()), ("synapse:admin",))
    for where, host in every_cut(mine, scene, way):
        before = len(host.http.sent)
        assert not states(bring(mine, host), State.FAILED), where
        assert host.http.synapse.users == {"@kmuctl-admin:acme.example": True}, where
        assert len(host.http.sent) == before + (way != "not answered"), where


def with_authentik_changed() -> FakeHost:
    """By hand: its blueprints are to be applied again, and one of its own is switched on."""
    host = running()
    host.http.authentik.applied.clear()
    host.http.authentik.disabled.clear()
    return host


AUTHENTIK = ("authentik:defaults", "blueprint:10-base", "blueprint:20-logins", "blueprint:30-ldap")


@pytest.mark.parametrize("way", WAYS)
def test_blueprints_that_are_cut_off_anywhere_are_applied_by_the_next_up(way: str) -> None:
    """K36: and what would undo them is off again."""
    good = running()
    mine = only(steps(good), AUTHENTIK)
    for where, host in every_cut(mine, with_authentik_changed, way):
        assert not states(bring(mine, host), State.FAILED), where
        assert host.http.authentik.disabled == good.http.authentik.disabled, where
        assert changed(plan(host)) == set(), where
