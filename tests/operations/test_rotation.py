"""`secrets rotate`: both sides know the new value, and the old one is gone; cut off anywhere, `up` finishes it."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ruamel.yaml import YAML

from kmuctl.model.errors import ConfigError
from kmuctl.model.secrets import Secret, exchange, parse, settled
from kmuctl.model.step import State
from kmuctl.operations.renewal import exchanged, maker
from kmuctl.operations.vault import open_vault
from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, bring, changed, go_up, plan, running, states, steps
from tests.support import stack

PATH = f"{FOLDER}/secrets.env"
OWN = sorted(spec.name for spec in stack().secrets() if spec.make and spec.name != "synapse_retired_keys")


def value(host: FakeHost, name: str) -> str:
    return open_vault(stack(), host).values[name].reveal()


def rotate(host: FakeHost, name: str) -> str:
    """Write a new value beside the old one, as the command does; the old one."""
    vault = open_vault(stack(), host)
    text = exchanged(host.text(PATH), vault, name, Secret(maker(stack(), name)()), 1795000000.5)
    host.write(PATH, text.encode(), mode=0o600)
    return vault.values[name].reveal()


def remains(host: FakeHost, old: str) -> list[str]:
    return [path for path, node in host.nodes.items() if old.encode() in (node.content or b"")]


@pytest.mark.parametrize("name", OWN)
def test_after_a_rotation_the_old_value_is_nowhere_and_all_holds(name: str) -> None:
    host = running()
    old = rotate(host, name)
    outcomes = go_up(host)
    assert not states(outcomes, State.FAILED) | states(outcomes, State.BLOCKED)
    assert value(host, name) != old
    assert remains(host, old) == []
    assert changed(plan(host)) == set()


def test_all_at_once() -> None:
    """Authentik's administrator is told with a token that is new itself."""
    host = running()
    old = [rotate(host, name) for name in OWN]
    outcomes = go_up(host)
    assert not states(outcomes, State.FAILED) | states(outcomes, State.BLOCKED)
    assert [remains(host, value) for value in old] == [[]] * len(old)
    order = [step.name for step in steps(host)]
    assert order == [step.name for step in steps(running())]


@pytest.mark.parametrize("name", ["authentik", "nextcloud", "synapse", "stalwart"])
def test_a_role_gets_its_new_password_before_its_service_starts_with_it(name: str) -> None:
    host = running()
    old = rotate(host, f"{name}_db_password")
    outcomes = go_up(host)
    assert outcomes[f"database:{name}"].cause == "the role's password differs from the secrets file"
    assert host.cluster.accepts(name, value(host, f"{name}_db_password"))
    assert not host.cluster.accepts(name, old)


def test_the_superuser_is_told_with_the_old_password() -> None:
    host = running()
    old = rotate(host, "postgres_password")
    assert go_up(host)["secret:postgres_password"].cause == "PostgreSQL has the old password"
    assert host.cluster.superuser == value(host, "postgres_password") != old


def test_authentik_is_told_with_its_old_token() -> None:
    host = running()
    rotate(host, "authentik_bootstrap_token")
    assert go_up(host)["secret:authentik_bootstrap_token"].cause == "Authentik has the old token"
    assert host.http.authentik.token == value(host, "authentik_bootstrap_token")


def test_authentiks_own_administrator_gets_the_new_password() -> None:
    host = running()
    rotate(host, "authentik_bootstrap_password")
    assert not states(go_up(host), State.FAILED)
    assert host.http.authentik.akadmin == value(host, "authentik_bootstrap_password")


def test_nextclouds_local_admin_gets_the_new_password() -> None:
    host = running()
    rotate(host, "nextcloud_admin_password")
    assert not states(go_up(host), State.FAILED)
    assert host.http.nextcloud.password == value(host, "nextcloud_admin_password")


def test_synapses_former_keys_stay_known_to_other_servers() -> None:
    """They signed what is already out there (upstream/matrix-coturn-caddy.md 1.2)."""
    host = running()
    former = [rotate(host, "synapse_signing_key") for _ in range(2) if not states(go_up(host), State.FAILED)]
    assert not states(go_up(host), State.FAILED)
    config = YAML(typ="safe").load(host.text(f"{FOLDER}/rendered/synapse/homeserver.yaml"))
    keys = config["old_signing_keys"]
    assert list(keys) == [f"ed25519:{line.split()[1]}" for line in former]
    assert {key["expired_ts"] for key in keys.values()} == {1795000000500}
    for line, key in zip(former, keys.values(), strict=True):
        private = Ed25519PrivateKey.from_private_bytes(b64decode(line.split()[2] + "="))
        assert b64decode(key["key"] + "=") == private.public_key().public_bytes_raw()


def test_cut_off_after_postgresql_knows_the_new_password() -> None:
    """Killed with both values in the file."""
    host = running()
    rotate(host, "postgres_password")
    host.cluster.superuser = value(host, "postgres_password")
    assert not states(go_up(host), State.FAILED)
    assert "PREVIOUS" not in host.text(PATH)


def test_the_old_value_stays_until_all_holds() -> None:
    host = running()
    old = rotate(host, "nextcloud_db_password")
    host.http.authentik.refuses["custom/20-logins.yaml"] = "Entry invalid"
    host.http.authentik.applied.clear()
    outcomes = go_up(host, patient=False)
    assert outcomes["secrets:settled"].state is State.BLOCKED
    assert f"NEXTCLOUD_DB_PASSWORD_PREVIOUS={old}\n" in host.text(PATH)


@pytest.mark.parametrize("name", ["nextcloud_oidc_secret", "authentik_ldap_token", "authentik_noreply_password"])
def test_a_secret_that_a_blueprint_hands_on_has_it_applied_again(name: str) -> None:
    """Authentik looks at the file's content, which names the secret only."""
    host = running()
    before = {path: digest for path, (digest, _) in host.http.authentik.applied.items()}
    rotate(host, name)
    assert not states(go_up(host), State.FAILED)
    assert len([path for path, (digest, _) in host.http.authentik.applied.items() if digest != before[path]]) == 1


def test_a_secret_that_no_blueprint_hands_on_has_none_applied_again() -> None:
    """Authentik's own: its worker reads it, and gives it to nobody."""
    host = running()
    rotate(host, "authentik_db_password")
    outcomes = go_up(host)
    blueprints = {name: outcome.state for name, outcome in outcomes.items() if name.startswith("blueprint:")}
    assert set(blueprints.values()) == {State.OK}


def test_a_blueprint_is_applied_again_for_its_own_secrets_only() -> None:
    host = running()
    rotate(host, "authentik_ldap_token")
    assert {name for name in changed(go_up(host)) if name.startswith("blueprint:")} == {"blueprint:30-ldap"}


def test_a_secret_that_is_not_ours_is_left_to_its_owner() -> None:
    site = stack(mail={"relay": {"host": "smtp.acme.example", "username": "acme"}})
    with pytest.raises(ConfigError, match="MAIL_RELAY_PASSWORD is not kmuctl's"):
        maker(site, "mail_relay_password")
    with pytest.raises(ConfigError, match="SYNAPSE_RETIRED_KEYS only grows"):
        maker(site, "synapse_retired_keys")
    with pytest.raises(ConfigError, match="no secret `NONSENSE`"):
        maker(site, "nonsense")


@pytest.mark.parametrize("line", ["NAME_FILE=/run/name\n", "OTHER=long-value\nNAME={{OTHER}}\n", "OTHER=x\n"])
def test_a_value_from_elsewhere_cannot_be_exchanged_here(line: str) -> None:
    with pytest.raises(ConfigError, match="NAME has no value of its own"):
        exchange(line, "name", Secret("new-value"))


def test_the_file_keeps_its_comments_and_its_other_lines() -> None:
    text = "# kept\nA=aaaaaaaa\n\nB='b b'\n# also\nC=cccccccc\n"
    new = exchange(text, "b", Secret("new-value"))
    assert new == "# kept\nA=aaaaaaaa\n\nB=new-value\nB_PREVIOUS='b b'\n# also\nC=cccccccc\n"
    assert parse(new, lambda path: None, path="x")["b_previous"].reveal() == "b b"
    assert settled(new) == "# kept\nA=aaaaaaaa\n\nB=new-value\n# also\nC=cccccccc\n"


def test_a_plan_without_rotation_has_no_step_for_one() -> None:
    assert not [step.name for step in steps(running()) if step.name.startswith("secret:") or "settled" in step.name]


def test_impatience_changes_nothing_of_the_order() -> None:
    """Each service that reads a rotated secret starts after the step that tells the other side."""
    host = running()
    rotate(host, "postgres_password")
    order = [step.name for step in steps(host)]
    assert order.index("container:postgres") < order.index("secret:postgres_password")
    assert order.index("secret:postgres_password") < min(order.index(name) for name in order if "database:" in name)
    outcomes = bring([replace(step, deadline=0) for step in steps(host)], host)
    assert not states(outcomes, State.FAILED)
