"""Both ends of every sign-on come from one value (K35-K39, K104-K107, U29, U33, U34, U55)."""

from __future__ import annotations

import re

import pytest
from ruamel.yaml import YAML

from tests.rendered.sites import SITES, Project, project, secret_value
from tests.tools.blueprint_lint import entries, load


def clients(present: Project) -> dict[str, dict[str, object]]:
    """The OpenID providers of the blueprints by client id."""
    document = load(present.text("blueprints/20-logins.yaml"))
    providers = (entry for entry in entries(document) if entry["model"] == "authentik_providers_oauth2.oauth2provider")
    return {entry["attrs"]["client_id"]: entry["attrs"] for entry in providers if entry.get("state") != "absent"}


@pytest.mark.parametrize("client", ["synapse", "nextcloud"])
def test_client_and_provider_read_the_same_secret(client: str) -> None:
    """L17 K106."""
    granted = [
        file.content.decode() for path, file in project().files.items() if path.endswith(f"/{client}_oidc_secret")
    ]
    assert set(granted) == {secret_value(f"{client}_oidc_secret")}
    assert f"/run/secrets/{client}_oidc_secret" in str(vars_of(clients(project())[client]["client_secret"]))


def vars_of(tag: object) -> object:
    return getattr(tag, "value", tag)


def redirects(client: str) -> set[str]:
    uris = clients(project())[client]["redirect_uris"]
    assert isinstance(uris, list)
    return {uri["url"] for uri in uris if uri["redirect_uri_type"] == "authorization"}


def test_synapse_and_the_sign_on_agree() -> None:
    """K36: a client of the same name, whose logins come back to Synapse and nowhere else."""
    assert redirects("synapse") == {"https://matrix.acme.example/_synapse/client/oidc/callback"}
    provider = YAML(typ="safe").load(project().text("synapse/homeserver.yaml"))["oidc_providers"][0]
    assert provider["client_id"] in clients(project())
    assert provider["issuer"].split("/")[-2] == provider["client_id"] == "synapse"
    assert provider["issuer"].startswith("https://auth.acme.example/")


def test_nextclouds_logins_come_back_to_nextcloud() -> None:
    """K37: to user_oidc, in both spellings of its address; people are told apart by Authentik's own number for them."""
    base = "https://cloud.acme.example"
    assert redirects("nextcloud") == {f"{base}/apps/user_oidc/code", f"{base}/index.php/apps/user_oidc/code"}
    assert clients(project())["nextcloud"]["sub_mode"] == "user_uuid"


@pytest.mark.parametrize("site", SITES)
def test_each_openid_app_has_its_provider(site: str) -> None:
    logins = {
        service.name for service in project(site).stack.logins() if service.login and service.login.kind == "oidc"
    }
    assert set(clients(project(site))) == logins


def test_databases_and_roles_agree() -> None:
    """K5, K103: each program signs in to its own database with its own secret."""
    present = project()
    nextcloud = present.containers["nextcloud"]["environment"]
    authentik = present.containers["authentik-server"]["environment"]
    assert (nextcloud["POSTGRES_DB"], nextcloud["POSTGRES_USER"]) == ("nextcloud", "nextcloud")
    assert (authentik["AUTHENTIK_POSTGRESQL__NAME"], authentik["AUTHENTIK_POSTGRESQL__USER"]) == (
        "authentik",
        "authentik",
    )
    for service in present.stack.services:
        for database in service.databases:
            readers = {
                file.service
                for file in present.files.values()
                if secret_value(f"{database.name}_db_password") in file.content.decode()
            }
            assert readers == {service.name}, database
    collations = {database.name: database.collation for database in present.stack.databases()}
    assert collations == {"authentik": "", "nextcloud": "", "stalwart": "", "synapse": "C"}


def test_the_superuser_is_postgres_alone() -> None:
    holding = [
        path for path, file in project().files.items() if secret_value("postgres_password") in file.content.decode()
    ]
    assert holding == ["secrets/postgres/postgres_password"]


def test_the_outpost_and_mail_share_the_directory() -> None:
    """K105, K38: base DN from the domain, the outpost's token and the bind password from one place."""
    present = project()
    assert present.members("directory") == {"authentik-server", "authentik-ldap", "stalwart", "usersync"}
    assert "dc=acme,dc=example" in present.text("blueprints/30-ldap.yaml")
    assert "dc=acme,dc=example" in present.text("stalwart/plan.ndjson")
    for name, readers in {
        "authentik_ldap_token": {"authentik-ldap", "authentik-worker"},
        "authentik_ldap_bind_password": {"authentik-worker", "stalwart"},
    }.items():
        assert {path.split("/")[1] for path in present.files if path.endswith(f"/{name}")} == readers


def test_who_applies_the_blueprints_reads_their_secrets() -> None:
    """The server, which strangers talk to, has no need of the apps' secrets."""
    named = {
        path
        for blueprint in project().files
        if blueprint.startswith("blueprints/")
        for path in re.findall(r"!File /run/secrets/(\w+)", project().text(blueprint))
    }
    own = {"authentik_secret_key", "authentik_db_password"}
    assert project().secrets("authentik-worker") == named | own
    assert project().secrets("authentik-server") == own


def test_the_first_admin_has_no_password_that_a_file_could_hold() -> None:
    """K30 K102: `login-link` lets them in, then they choose one themselves."""
    base = project().text("blueprints/10-base.yaml")
    assert "password:" not in base[base.index("id: admin\n") : base.index("# Sender of all notifications")]
    assert not any("admin_password" in path for path in project().files if "authentik" in path)


def test_a_relay_brings_its_secret() -> None:
    assert "secrets/stalwart/mail_relay_password" in project("relay").files
    assert "mail_relay_password" not in project().text("compose.yaml")
    assert "smtp.provider.example" in project("relay").text("stalwart/plan.ndjson")


@pytest.mark.parametrize("container", ["authentik-server", "authentik-worker"])
def test_the_templates_of_mails_are_where_authentik_looks_and_it_may_read_them(container: str) -> None:
    """U3: `/templates`, for its user 1000; the mail's button has the company's colour."""
    present = project()
    assert "./authentik/mail:/templates:ro" in present.containers[container]["volumes"]
    html = present.files["authentik/mail/kmu_recovery.html"]
    assert html.mode & 0o004
    assert f"background:{present.stack.site.branding.color};" in html.content.decode()
