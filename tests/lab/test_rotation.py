"""Every secret of the running stack gets a new value, at once: the hardest order there is."""

from __future__ import annotations

import psycopg
import pytest

from tests.lab.stack import LabSite, api, ids
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


def test_authentik_takes_its_new_token(site: LabSite, before: dict[str, str]) -> None:
    assert api(site, "core/users/me/")["user"]["username"] == "akadmin"


def test_noreply_sends_with_its_new_password(site: LabSite, before: dict[str, str]) -> None:
    with submission(465) as link:
        link.login(*noreply(site))


def test_other_servers_learn_synapses_former_key(site: LabSite, before: dict[str, str]) -> None:
    former = before["synapse_signing_key"].split()[1]
    assert f"ed25519:{former}" in (site.rendered / "synapse/homeserver.yaml").read_text()
