"""Synapse and Element: only keys that the programs read, and the decisions that upstream/matrix-coturn-caddy.md asks for.

Both ignore keys they do not know, so a slip of the pen would pass every other check. Rows K7, K8, K33, K34, K67, K70-K75.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.rendered.sites import IDN_ASCII, SITES, project
from tests.support import AWKWARD_NAME

SYNAPSE_KEYS = set(
    """
    server_name public_baseurl serve_server_wellknown web_client_location admin_contact report_stats log_config pid_file
    listeners listeners.port listeners.type listeners.tls listeners.x_forwarded listeners.bind_addresses
    listeners.resources listeners.resources.names listeners.resources.compress enable_metrics
    database database.name database.args database.args.user database.args.dbname database.args.host database.args.port
    database.args.passfile database.args.application_name database.args.keepalives_idle
    database.args.keepalives_interval database.args.keepalives_count database.args.cp_min database.args.cp_max
    signing_key_path registration_shared_secret_path macaroon_secret_key_path form_secret_path
    trusted_key_servers trusted_key_servers.server_name suppress_key_server_warning federation_domain_whitelist
    enable_registration allow_guest_access password_config password_config.enabled enable_set_displayname
    enable_3pid_changes
    oidc_providers oidc_providers.idp_id oidc_providers.idp_name oidc_providers.issuer oidc_providers.discover
    oidc_providers.client_id oidc_providers.client_secret_path oidc_providers.scopes
    oidc_providers.allow_existing_users oidc_providers.enable_registration oidc_providers.backchannel_logout_enabled
    oidc_providers.user_profile_method oidc_providers.user_mapping_provider
    oidc_providers.user_mapping_provider.config oidc_providers.user_mapping_provider.config.subject_template
    oidc_providers.user_mapping_provider.config.localpart_template
    oidc_providers.user_mapping_provider.config.display_name_template
    oidc_providers.user_mapping_provider.config.email_template
    sso sso.client_whitelist sso.update_profile_information
    turn_uris turn_shared_secret_path turn_user_lifetime turn_allow_guests
    media_store_path max_upload_size media_retention media_retention.remote_media_lifetime
    url_preview_enabled url_preview_ip_range_blacklist url_preview_accept_language retention retention.enabled
    rc_login rc_login.address rc_login.address.per_second rc_login.address.burst_count
    rc_login.account rc_login.account.per_second rc_login.account.burst_count
    rc_login.failed_attempts rc_login.failed_attempts.per_second rc_login.failed_attempts.burst_count
    rc_message rc_message.per_second rc_message.burst_count
    rc_joins rc_joins.local rc_joins.local.per_second rc_joins.local.burst_count
    rc_joins.remote rc_joins.remote.per_second rc_joins.remote.burst_count
    auto_join_rooms autocreate_auto_join_rooms_federated autocreate_auto_join_room_preset auto_join_mxid_localpart
    presence presence.enabled user_directory user_directory.search_all_users user_directory.prefer_local_users
    encryption_enabled_by_default_for_room_type allow_public_rooms_over_federation push push.include_content
    email email.smtp_host email.smtp_port email.smtp_user email.smtp_pass email.require_transport_security
    email.tlsname email.notif_from email.app_name email.enable_notifs email.client_base_url email.force_tls
    """.split()
)
ELEMENT_KEYS = set(
    """
    default_server_config disable_custom_urls disable_guests disable_3pid_login brand default_theme
    default_country_code permalink_prefix sso_redirect_options sso_redirect_options.immediate
    sso_redirect_options.on_welcome_page sso_redirect_options.on_login_page logout_redirect_url integrations_ui_url
    integrations_rest_url integrations_widgets_urls show_labs_settings features room_directory room_directory.servers
    branding branding.auth_header_logo_url branding.auth_footer_links setting_defaults
    jitsi jitsi.preferred_domain mobile_guide_toast force_verification default_federate
    """.split()
)
ELEMENT_SETTINGS = {
    *(f"UIFeature.{name}" for name in ("registration", "passwordReset", "deactivate", "identityServer", "feedback")),
    "language",
}
PREVIEW_BLOCKLIST = set(
    """127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 192.0.0.0/24 169.254.0.0/16 192.88.99.0/24
    198.18.0.0/15 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 ::1/128 fe80::/10 fc00::/7 2001:db8::/32
    ff00::/8 fec0::/10""".split()
)


def synapse(site: str = "core") -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(project(site).text("synapse/homeserver.yaml"))
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


WITH_SYNAPSE = [site for site in SITES if "synapse" in project(site).stack]
WITH_ELEMENT = [site for site in SITES if "element" in project(site).stack]


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
    assert set(synapse()["url_preview_ip_range_blacklist"]) >= PREVIEW_BLOCKLIST


def test_messages_are_kept_unless_asked() -> None:
    assert "enabled" not in synapse().get("retention", {}) or synapse()["retention"]["enabled"] is False


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
