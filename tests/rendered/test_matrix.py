"""Synapse and Element: only keys that the programs read, and the decisions of upstream/matrix-coturn-caddy.md.

Both ignore keys they do not know, so a slip of the pen would pass every other check.
Rows K7, K8, K33, K34, K67, K70-K75.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.utils import parseaddr
from typing import Any

import pytest
from ruamel.yaml import YAML

from kmuctl.model.values import RESERVED_USERS
from tests.rendered.sites import IDN_ASCII, having, known, project, secret_value
from tests.support import AWKWARD_NAME

SYNAPSE_KEYS = known("synapse-keys")
ELEMENT_KEYS = known("element-keys")
ELEMENT_SETTINGS = {
    *(f"UIFeature.{name}" for name in ("registration", "passwordReset", "deactivate", "identityServer", "feedback")),
    "language",
}
BLOCKLIST = known("synapse-preview-blocklist")


def synapse(site: str = "core") -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(project(site).text("synapse/homeserver.yaml"))
    return loaded


def mail_settings(site: str = "core") -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(project(site).text("synapse/mail.yaml"))
    return loaded


def element(site: str = "core") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(project(site).text("element/config.json"))
    return loaded


def keys(value: object, prefix: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from keys(item, prefix)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield prefix + key
            yield from keys(item, f"{prefix}{key}.")


WITH_SYNAPSE = having("synapse")
WITH_ELEMENT = having("element")


@pytest.mark.parametrize("site", WITH_SYNAPSE)
def test_synapse_reads_every_key(site: str) -> None:
    assert set(keys(synapse(site))) - SYNAPSE_KEYS == set()


@pytest.mark.parametrize("site", WITH_ELEMENT)
def test_element_reads_every_key(site: str) -> None:
    config = element(site)
    assert set(config.pop("setting_defaults")) <= ELEMENT_SETTINGS
    assert config.pop("default_server_config").keys() == {"m.homeserver"}
    assert set(keys(config)) - ELEMENT_KEYS == set()


def test_synapse_knows_its_names() -> None:
    config = synapse()
    assert config["server_name"] == "acme.example"
    assert config["public_baseurl"] == "https://matrix.acme.example/"
    assert config["report_stats"] is False
    assert synapse("umlaut domain")["server_name"] == IDN_ASCII


def test_synapse_takes_people_from_the_sign_on_only() -> None:
    """K34, K67, K71: no password, no guest, no registration, no merging of accounts by name."""
    config = synapse()
    provider = config["oidc_providers"][0]
    assert config["password_config"] == {"enabled": False}
    assert (config["enable_registration"], config["allow_guest_access"]) == (False, False)
    assert provider["allow_existing_users"] is False
    assert provider["issuer"] == "https://auth.acme.example/application/o/synapse/"
    assert provider["user_mapping_provider"]["config"]["localpart_template"] == "{{ user.preferred_username }}"
    assert config["sso"]["client_whitelist"] == ["https://element.acme.example/"]


def test_the_login_button_has_the_companys_name() -> None:
    assert synapse("awkward names")["oidc_providers"][0]["idp_name"] == AWKWARD_NAME


def test_synapse_listens_behind_caddy() -> None:
    http, metrics = synapse()["listeners"]
    assert (http["port"], http["tls"], http["x_forwarded"]) == (8008, False, True)
    assert (metrics["type"], metrics["port"]) == ("metrics", 9000)


def test_synapse_has_a_role_of_its_own() -> None:
    """K103: its own password from a file, host and role as PostgreSQL gets them."""
    database = synapse()["database"]["args"]
    assert (database["user"], database["dbname"], database["host"]) == ("synapse", "synapse", "postgres")
    assert project().text("synapse/pgpass").startswith("postgres:5432:synapse:synapse:")
    assert "password" not in database


def test_synapse_finds_what_it_names() -> None:
    """A missing log configuration would be made up silently, a missing secret too."""
    config, present = synapse(), project()
    targets = {target for _, target, _ in present.mounts("synapse")}
    assert {"/config", "/media"} <= targets
    for path in (config["log_config"], config["database"]["args"]["passfile"]):
        assert path.replace("/config/", "synapse/") in present.files
    assert config["media_store_path"] == "/media"


def test_link_previews_never_look_inside() -> None:
    assert set(synapse()["url_preview_ip_range_blacklist"]) >= BLOCKLIST


def test_messages_are_kept_unless_asked() -> None:
    assert "retention" not in synapse()
    assert synapse("short memory")["retention"] == {
        "enabled": True, "default_policy": {"max_lifetime": "365d"}, "allowed_lifetime_max": "365d",
    }  # fmt: skip


@pytest.mark.parametrize("site", having("synapse", "stalwart"))
def test_notifications_go_out_as_noreply(site: str) -> None:
    """K84: through our own mail server by its public name, with its certificate checked."""
    present = project(site)
    mail = mail_settings(site)["email"]
    name, address = parseaddr(mail["notif_from"].replace("%%", "%"))
    assert address == mail["smtp_user"] == f"noreply@{present.stack.site.domain}"
    assert str(make_header(decode_header(name))) == mail["app_name"] == present.stack.site.name
    assert mail["notif_from"].isascii()
    assert mail["smtp_host"] in present.containers["stalwart"]["networks"]["mail"]["aliases"]
    assert (mail["force_tls"], mail["smtp_port"]) == (True, 465)
    assert mail["smtp_pass"] == secret_value("authentik_noreply_password")


@pytest.mark.parametrize("file", ["mail", "kmuctl"])
def test_what_holds_a_password_is_readable_by_synapse_alone(file: str) -> None:
    """K84: Synapse takes these two from no file of their own, and homeserver.yaml is open to all."""
    present = project().files[f"synapse/{file}.yaml"]
    assert (present.mode, present.uid) == (0o600, 991)


@pytest.mark.parametrize("site", WITH_SYNAPSE)
def test_synapse_is_started_with_every_file(site: str) -> None:
    command = project(site).containers["synapse"]["command"]
    assert command == ["run", "-c", "/config/homeserver.yaml", "-c", "/config/mail.yaml"]
    assert synapse(site)["app_service_config_files"] == ["/config/kmuctl.yaml"]
    assert set(keys(mail_settings(site))) - SYNAPSE_KEYS == set()


@pytest.mark.parametrize("site", WITH_SYNAPSE)
def test_the_token_of_kmuctl_is_good_for_one_account_that_nobody_can_have(site: str) -> None:
    """K7: and Synapse tells it nothing."""
    granted = YAML(typ="safe").load(project(site).text("synapse/kmuctl.yaml"))
    [namespace] = granted["namespaces"]["users"]
    domain = project(site).stack.site.domain
    assert re.fullmatch(namespace["regex"], f"@kmuctl-admin:{domain}")
    assert not re.fullmatch(namespace["regex"], f"@kmuctl-admin:{domain.replace('.', 'x', 1)}")
    assert granted["as_token"] == secret_value("synapse_admin_token")
    assert granted["url"] is None
    assert "kmuctl-admin" in RESERVED_USERS


@pytest.mark.parametrize("site", WITH_SYNAPSE)
def test_synapse_trusts_our_own_authority_and_the_public_ones(site: str) -> None:
    """K67, K50: with certificates of our own, sign-on and mail would be refused."""
    container, internal = project(site).containers["synapse"], project(site).stack.site.tls.mode == "internal"
    assert ("../data/caddy/authority:/authority:ro" in container["volumes"]) is internal
    trusted = {name: value for name, value in container["environment"].items() if name.startswith("SSL_")}
    both = {"SSL_CERT_FILE": "/authority/root.crt", "SSL_CERT_DIR": "/etc/ssl/certs"}
    assert trusted == (both if internal else {})


def test_an_office_behind_one_address_can_sign_in() -> None:
    assert synapse()["rc_login"]["address"]["burst_count"] >= 30


def test_synapse_offers_the_relay_in_every_form() -> None:
    assert synapse()["turn_uris"] == [
        "turn:turn.acme.example:3478?transport=udp",
        "turn:turn.acme.example:3478?transport=tcp",
        "turns:turn.acme.example:5349?transport=tcp",
    ]
    assert not any(key.startswith("turn_") for key in synapse("without coturn"))


def test_element_points_at_the_own_server() -> None:
    """K70."""
    assert element()["default_server_config"] == {
        "m.homeserver": {"base_url": "https://matrix.acme.example", "server_name": "acme.example"}
    }
    assert element()["disable_custom_urls"] is True
    assert element()["brand"] == "ACME GmbH"
    assert element("awkward names")["brand"] == AWKWARD_NAME


def test_element_shows_no_guest_registration_or_reset() -> None:
    """K71, K73."""
    config = element()
    assert (config["disable_guests"], config["disable_3pid_login"]) == (True, True)
    assert config["setting_defaults"]["UIFeature.registration"] is False
    assert config["setting_defaults"]["UIFeature.passwordReset"] is False


def test_element_goes_straight_to_the_sign_on_and_back_out() -> None:
    """K72."""
    assert set(element()["sso_redirect_options"].values()) == {True}
    assert len(element()["sso_redirect_options"]) == 3
    assert element()["logout_redirect_url"] == "https://auth.acme.example/application/o/synapse/end-session/"


def test_element_uses_the_own_meetings() -> None:
    """K75."""
    assert element()["jitsi"] == {"preferred_domain": "meet.acme.example"}
    assert "jitsi" not in element("without jitsi")


def test_element_asks_no_third_party() -> None:
    config = element()
    assert [config[key] for key in config if key.startswith("integrations_")] == [None, None, None]
    assert not {"bug_report_endpoint_url", "sentry", "posthog", "map_style_url"} & set(config)


def test_element_speaks_the_sites_language() -> None:
    assert element()["setting_defaults"]["language"] == "de"
    assert element("English")["setting_defaults"]["language"] == "en"
