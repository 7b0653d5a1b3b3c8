"""Chat: the real Synapse with our sign-on, our relay and our own account in it; Element is a double."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.lab.stack import HERE, LabSite, address, docker, eventually, health, ids, inside, name_of
from tests.lab.turn_client import Refused, TurnClient

pytestmark = pytest.mark.lab

REDIRECT = "/_matrix/client/v3/login/sso/redirect/oidc-authentik?redirectUrl="


def as_admin(site: LabSite, path: str, *, port: int = 8008, **query: str) -> httpx.Response:
    """What kmuctl's own account is told, inside."""
    user = f"@kmuctl-admin:{site.stack.site.domain}"
    headers = {"Authorization": f"Bearer {site.secrets()['synapse_admin_token']}"}
    return httpx.get(f"http://{address('synapse')}:{port}{path}", params={"user_id": user, **query}, headers=headers)


def signed_in(site: LabSite, browser: httpx.Client) -> dict[str, Any]:
    """Through Authentik into Synapse, as Element does it."""
    answer = browser.get(site.url("matrix", REDIRECT + site.url("element")))
    while urlsplit(location := answer.headers.get("location", "")).hostname != site.stack.site.fqdn("element"):
        assert answer.is_redirect, f"{answer.status_code} of {answer.url}: {answer.text[:500]}"
        answer = browser.get(answer.url.join(location))
    token = parse_qs(urlsplit(location).query)["loginToken"][0]
    login = {"type": "m.login.token", "token": token}
    answer = browser.post(site.url("matrix", "/_matrix/client/v3/login"), json=login)
    assert answer.status_code == 200, answer.text
    session: dict[str, Any] = answer.json()
    return session


def test_the_configuration_passes_synapses_own_check(site: LabSite) -> None:
    """K67, K84: the files that it runs with, the one with the mail password among them."""
    files = ("-c", "/config/homeserver.yaml", "-c", "/config/mail.yaml")
    checked = inside("synapse", "python", "-m", "synapse.config", *files)
    assert (checked.returncode, "Config parses OK!" in checked.stdout) == (0, True), checked.stderr
    read = inside("synapse", "python", "-m", "synapse.config", "read", "email.email_smtp_user", *files)
    assert read.stdout.strip().endswith(f": noreply@{site.stack.site.domain}"), read.stderr


def test_an_account_of_authentik_is_an_account_of_matrix(site: LabSite, person: httpx.Client) -> None:
    """K8, K67, K74: without a word in between; name and address come along."""
    session = signed_in(site, person)
    site_admin = site.stack.site.admin
    user = f"@{site_admin.username}:{site.stack.site.domain}"
    assert session["user_id"] == user
    profile = as_admin(site, f"/_synapse/admin/v2/users/{user}").json()
    assert profile["displayname"] == site_admin.name
    assert site_admin.email in [one["address"] for one in profile["threepids"]]
    assert profile["admin"] is False


def test_a_forged_return_address_gets_no_token(site: LabSite, person: httpx.Client) -> None:
    """K75: a page asks first; only Element is believed."""
    answer = person.get(site.url("matrix", REDIRECT + "https://element.kmu.test.example/"), follow_redirects=True)
    assert urlsplit(str(answer.url)).hostname == site.stack.site.fqdn("matrix")
    assert "Continue to your account" in answer.text


def test_there_is_no_way_in_but_the_sign_on(site: LabSite) -> None:
    """K67, K71: no password, no guest, no registration."""
    flows = site.get("matrix", "/_matrix/client/v3/login").json()["flows"]
    assert {flow["type"] for flow in flows} <= {"m.login.sso", "m.login.token", "m.login.application_service"}
    with site.browser() as browser:
        for kind in ("user", "guest"):
            made = browser.post(site.url("matrix", f"/_matrix/client/v3/register?kind={kind}"), json={})
            assert made.status_code == 403, made.text


def test_kmuctl_administers_synapse_from_inside_only(site: LabSite) -> None:
    """K67: one account that nobody signs in to, with a token from the secrets file."""
    assert as_admin(site, "/_synapse/admin/v2/users").json()["total"] >= 1
    headers = {"Authorization": f"Bearer {site.secrets()['synapse_admin_token']}"}
    with site.browser() as browser:
        assert browser.get(site.url("matrix", "/_synapse/admin/v2/users"), headers=headers).status_code == 404


def test_callers_are_given_our_relay(site: LabSite) -> None:
    """K79, K109: with a credential that coturn takes, until its time is over."""
    offered = as_admin(site, "/_matrix/client/v3/voip/turnServer").json()
    name = site.stack.site.fqdn("turn")
    assert {uri.split("?")[0] for uri in offered["uris"]} == {f"turn:{name}:3478", f"turns:{name}:5349"}
    assert offered["ttl"] == 3600
    with TurnClient((HERE, 3478), offered["username"], offered["password"]) as turn:
        turn.allocate()
    with TurnClient((HERE, 3478), f"1:{offered['username']}", offered["password"]) as turn, pytest.raises(Refused):
        turn.allocate()


def test_link_previews_never_look_inside(site: LabSite) -> None:
    """K7: neither at a neighbour nor at a cloud's metadata."""
    for target in (f"http://{address('panel')}:8000/", "http://169.254.169.254/", "http://127.0.0.1:9000/"):
        answer = as_admin(site, "/_matrix/client/v1/media/preview_url", url=target)
        assert answer.status_code in (403, 502), f"{target}: {answer.text}"


def test_numbers_for_a_monitor_stay_inside(site: LabSite) -> None:
    assert "synapse_build_info" in as_admin(site, "/_synapse/metrics", port=9000).text
    assert site.get("matrix", "/_synapse/metrics").status_code == 404


def test_element_gets_what_we_decided(site: LabSite) -> None:
    """K70-K73, K75: through Caddy, as the browser gets it."""
    config = site.get("element", "/config.json").json()
    assert config == json.loads((site.rendered / "element/config.json").read_text())
    assert config["default_server_config"]["m.homeserver"]["server_name"] == site.stack.site.domain
    assert (config["disable_guests"], config["disable_custom_urls"]) == (True, True)
    assert set(config["sso_redirect_options"].values()) == {True}
    assert config["setting_defaults"]["UIFeature.registration"] is False
    assert config["setting_defaults"]["UIFeature.passwordReset"] is False
    assert config["jitsi"]["preferred_domain"] == site.stack.site.fqdn("meet")
    # a token of Matrix is none for our meetings: Element must not be told to make one (upstream/jitsi.md 10)
    assert site.get("meet", "/.well-known/element/jitsi").status_code == 404


def test_the_sign_on_may_come_up_later_than_synapse(site: LabSite, person: httpx.Client) -> None:
    """K67, K116: healthy without it, 503 at the door, and the same Synapse lets people in once it is back."""
    docker("stop", name_of("authentik-server"))
    docker("restart", name_of("synapse"))
    eventually(lambda: health("synapse") == "healthy", within=90, what="Synapse without Authentik")
    assert person.get(site.url("matrix", REDIRECT + site.url("element"))).status_code == 503
    docker("start", name_of("authentik-server"))
    eventually(lambda: health("authentik-server") == "healthy", within=120, what="Authentik is back")
    before = ids()["synapse"]
    assert signed_in(site, person)["user_id"].startswith("@")
    assert ids()["synapse"] == before
    assert site.plan() == {}
