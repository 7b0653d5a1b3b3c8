"""Every secret of the running stack gets a new value, at once: the hardest order there is."""

from __future__ import annotations

import smtplib

import ldap3  # type: ignore[import-untyped]
import psycopg
import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.model.secrets import Secret
from kmuctl.operations.nextcloud.access import ADMIN
from kmuctl.operations.nextcloud.occ import call
from tests.lab.stack import LabSite, address, api, ids
from tests.lab.test_database import connect
from tests.lab.test_mail import noreply, submission

pytestmark = pytest.mark.lab
GROWS = "synapse_retired_keys"


@pytest.fixture(scope="module")
def before(site: LabSite) -> dict[str, str]:
    """The old values, after all of them were rotated."""
    old = site.secrets()
    done = site.kmuctl("secrets", "rotate", *sorted(old.keys() - {GROWS}))
    assert done.returncode == 0, done.stderr
    assert not [name for name, value in old.items() if value in done.stdout + done.stderr]
    return old


def test_every_value_is_another_one_and_all_holds(site: LabSite, before: dict[str, str]) -> None:
    new = site.secrets()
    assert new.keys() == before.keys()
    assert [name for name in before if new[name] == before[name]] == []
    running = ids()
    assert site.plan() == {}
    assert site.up()["steps"] == []
    assert ids() == running


def test_no_file_knows_an_old_value(site: LabSite, before: dict[str, str]) -> None:
    texts = {
        path: path.read_bytes() for path in [site.folder / "secrets.env", *site.rendered.rglob("*")] if path.is_file()
    }
    old = {name: value for name, value in before.items() if name != GROWS}
    assert [(name, path) for name, value in old.items() for path, text in texts.items() if value.encode() in text] == []


@pytest.mark.parametrize("role", ["postgres", "authentik", "nextcloud", "synapse", "stalwart"])
def test_a_role_takes_its_new_password_alone(site: LabSite, before: dict[str, str], role: str) -> None:
    name = "postgres_password" if role == "postgres" else f"{role}_db_password"
    connect(role, role, site.secrets()[name]).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(role, role, before[name])


def test_authentik_takes_its_new_token_alone(site: LabSite, before: dict[str, str]) -> None:
    assert api(site, "core/users/me/")["user"]["username"] == "akadmin"
    with pytest.raises(AssertionError, match="Token invalid"):
        api(site, "core/users/me/", token=before["authentik_bootstrap_token"])


def test_noreply_sends_with_its_new_password_alone(site: LabSite, before: dict[str, str]) -> None:
    name, password = noreply(site)
    with submission(465) as link:
        link.login(name, password)
    with submission(465) as link, pytest.raises(smtplib.SMTPAuthenticationError):
        link.login(name, before["authentik_noreply_password"])


@pytest.mark.parametrize("login", ["ldapservice", "noreply"])
def test_the_directory_takes_new_passwords_alone(site: LabSite, before: dict[str, str], login: str) -> None:
    secret = {"ldapservice": "authentik_ldap_bind_password", "noreply": "authentik_noreply_password"}[login]
    assert binds(site, login, site.secrets()[secret])
    assert not binds(site, login, before[secret])


def binds(site: LabSite, login: str, password: str) -> bool:
    server = ldap3.Server(address("authentik-ldap"), port=3389, get_info=ldap3.NONE)
    link = ldap3.Connection(server, f"cn={login},ou=users,{site.stack.site.base_dn}", password)
    try:
        return bool(link.bind())
    finally:
        link.unbind()


def test_nextcloud_takes_its_new_emergency_password_alone(site: LabSite, before: dict[str, str]) -> None:
    assert emergency(site.secrets()["nextcloud_admin_password"]) == 200
    assert emergency(before["nextcloud_admin_password"]) == 401


def emergency(password: str) -> int:
    """How Nextcloud answers its local admin."""
    return LocalHost().http.ask(call("/ocs/v2.php/cloud/user?format=json", Secret(password), ADMIN)).status


def test_other_servers_learn_synapses_former_key(site: LabSite, before: dict[str, str]) -> None:
    former = before["synapse_signing_key"].split()[1]
    assert f"ed25519:{former}" in (site.rendered / "synapse/homeserver.yaml").read_text()
