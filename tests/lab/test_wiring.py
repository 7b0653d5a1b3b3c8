"""What `up` does inside the services once they run: Authentik's objects and outposts."""

from __future__ import annotations

import hashlib

import pytest

from tests.lab.stack import LabSite, api, eventually, ids
from tests.lab.test_nextcloud import base, occ

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("name", ["10-base", "20-logins", "30-ldap"])
def test_every_blueprint_is_applied_as_it_stands(site: LabSite, name: str) -> None:
    """K35, K36, K37, K38: by Authentik's own word."""
    content = (site.rendered / f"blueprints/{name}.yaml").read_bytes()
    [instance] = api(site, f"managed/blueprints/?path=custom/{name}.yaml")["results"]
    assert (instance["status"], instance["last_applied_hash"]) == ("successful", hashlib.sha512(content).hexdigest())


def test_both_outposts_are_connected(site: LabSite) -> None:
    """K38, K39, K45, K46: with a token known before the first start; else protected pages and mailboxes are shut."""
    outposts = {outpost["name"]: outpost["pk"] for outpost in api(site, "outposts/instances/")["results"]}
    assert {"authentik Embedded Outpost", "ldap"} <= outposts.keys()
    assert all(api(site, f"outposts/instances/{key}/health/") for key in outposts.values())


def test_a_login_changed_by_hand_in_the_file_is_applied_as_it_should_be(site: LabSite) -> None:
    """K56: the file and what Authentik made of it."""
    path = site.rendered / "blueprints/20-logins.yaml"
    wanted = path.read_text()
    path.write_text(wanted.replace('name: "Logs"', 'name: "Changed by hand"'))
    steps = {step["step"] for step in site.up()["steps"]}
    assert "files:authentik" in steps
    assert path.read_text() == wanted
    [application] = api(site, "core/applications/?slug=dozzle")["results"]
    assert application["name"] == "Logs"


def test_an_up_that_is_killed_while_it_wires_is_finished_by_the_next(site: LabSite) -> None:
    """K43, K56: kill -9 when Authentik is put right already, and Nextcloud is just being told."""
    before = ids()
    [person] = api(site, f"core/users/?username={site.stack.site.admin.username}")["results"]
    account = f"core/users/{person['pk']}/"
    api(site, account, "PATCH", {"email": person["email"].upper()})
    done = site.kmuctl("occ", "user_oidc:provider", "authentik", "--clientid=other")
    assert done.returncode == 0, done.stdout
    with base(site) as database, database.transaction(), site.started("up") as killed:
        database.execute("LOCK TABLE oc_user_oidc_providers IN SHARE MODE")
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'oc_user_oidc_providers'::regclass AND NOT granted"
        eventually(lambda: database.execute(waiting).fetchall() != [(0,)], within=60, what="up writes to Nextcloud")
        eventually(lambda: api(site, account)["email"] == person["email"], what="Authentik is put right")
        killed.kill()
    assert killed.returncode == -9
    site.up()
    assert occ(site, "user_oidc:provider", "authentik")["clientId"] == "nextcloud"
    assert site.up()["steps"] == []
    assert ids() == before
