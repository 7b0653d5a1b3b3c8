"""Synapse's administrator for kmuctl: made once, seen by what it may do."""

from __future__ import annotations

from kmuctl.model.step import State
from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, changed, go_up, plan, running

ADMIN = "@kmuctl-admin:acme.example"


def sent(host: FakeHost) -> list[str]:
    return [line for line in host.http.sent if "_synapse" in line]


def test_kmuctl_has_an_administrator_in_synapse() -> None:
    """K67: made by the shared secret, once."""
    host = running()
    assert host.http.synapse.users == {ADMIN: True}
    assert sent(host) == ["POST /_synapse/admin/v1/register"]
    assert changed(go_up(host)) == set()
    assert sent(host) == ["POST /_synapse/admin/v1/register"]


def test_an_administrator_that_is_gone_is_made_again() -> None:
    """After a new start from nothing, or an old backup of the database."""
    host = running()
    host.http.synapse.users.clear()
    assert plan(host)["synapse:admin"].cause == "it has no administrator for kmuctl"
    assert changed(go_up(host)) == {"synapse:admin"}
    assert host.http.synapse.users == {ADMIN: True}


def test_an_account_of_that_name_without_rights_is_not_fought_over() -> None:
    host = running()
    host.http.synapse.users[ADMIN] = False
    outcome = go_up(host)["synapse:admin"]
    assert (outcome.state, outcome.cause) == (
        State.FAILED, f"`{ADMIN}` is in Synapse already, but is no administrator",
    )  # fmt: skip


def test_a_new_token_in_the_secrets_file_is_all_it_takes() -> None:
    """K67: nothing of it is kept anywhere else, so none can be lost or forgotten."""
    host = running()
    path = f"{FOLDER}/secrets.env"
    old = next(line for line in host.text(path).splitlines() if line.startswith("SYNAPSE_ADMIN_TOKEN="))
    host.write(path, host.text(path).replace(old, "SYNAPSE_ADMIN_TOKEN=another-token").encode(), mode=0o600)
    assert {"container:synapse", "files:synapse"} <= changed(go_up(host))
    assert host.http.synapse.token == "another-token"
    assert changed(go_up(host)) == set()


def test_a_plan_without_synapse_says_that_it_cannot_know() -> None:
    host = running()
    host.engine.stop("kmu", "synapse")
    assert plan(host)["synapse:admin"].cause == "can be seen when Synapse runs"


def test_a_token_that_synapse_does_not_know() -> None:
    host = running()
    host.http.synapse.token = "another"
    outcome = go_up(host)["synapse:admin"]
    assert (outcome.state, outcome.cause) == (State.FAILED, "Synapse refuses `SYNAPSE_ADMIN_TOKEN`")
