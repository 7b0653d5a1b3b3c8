"""What `up` does inside the services once they run: Authentik's objects and outposts."""

from __future__ import annotations

import hashlib

import pytest

from tests.lab.stack import LabSite, api

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
