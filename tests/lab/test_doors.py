"""Every public name, asked through the real Caddy with its own certificate authority."""

from __future__ import annotations

import json
import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.lab.stack import HERE, AtThisMachine, LabSite, api, report, sign_in

pytestmark = pytest.mark.lab

PROTECTED = [("logs", "/"), ("admin", "/"), ("element", "/"), ("meet", "/_sso/room")]


@pytest.mark.parametrize("host", ["", "www"])
def test_the_start_page_names_the_company_and_its_apps(site: LabSite, host: str) -> None:
    """K13, K91, D37: on the domain itself and on www."""
    answer = site.get(host)
    assert answer.status_code == 200
    assert site.stack.site.name in answer.text
    assert all(str(app["url"]) in answer.text for app in site.stack.apps())


def test_the_sign_on_shows_its_login(site: LabSite) -> None:
    """K3, K58: auth. leads to the login flow."""
    with site.browser() as browser:
        answer = browser.get(site.url("auth"), follow_redirects=True)
    assert (answer.status_code, urlsplit(str(answer.url)).path) == (200, "/if/flow/default-authentication-flow/")


def test_cloud_is_an_installed_nextcloud_that_knows_its_name(site: LabSite) -> None:
    """K9, K59: Nextcloud's own answer, with the public address in its redirects."""
    assert site.get("cloud", "/status.php").json()["installed"] is True
    assert site.get("cloud").headers["location"].startswith(site.url("cloud"))


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("carddav", "/remote.php/dav/"),
        ("caldav", "/remote.php/dav/"),
        ("webfinger", "/index.php/.well-known/webfinger"),
        ("nodeinfo", "/index.php/.well-known/nodeinfo"),
    ],
)
def test_calendars_and_contacts_are_found(site: LabSite, asked: str, led_to: str) -> None:
    """K59: the well-known addresses lead into Nextcloud."""
    answer = site.get("cloud", f"/.well-known/{asked}")
    assert (answer.status_code, answer.headers["location"]) == (301, led_to)


def test_matrix_serves_its_client_interface(site: LabSite) -> None:
    """K7, K60: the real Synapse answers."""
    answer = site.get("matrix", "/_matrix/client/versions")
    assert (answer.status_code, "v1.11" in answer.json()["versions"]) == (200, True)


@pytest.mark.parametrize("path", ["/_synapse/admin/v1/server_version", "/_synapse/mas/x", "/_synapse//admin/v1/users"])
def test_the_matrix_administration_stays_inside(site: LabSite, path: str) -> None:
    """K60: Synapse has it, the outside does not."""
    assert site.get("matrix", path).status_code == 404


def test_a_person_at_matrix_is_led_to_element(site: LabSite) -> None:
    """K60."""
    assert site.get("matrix").headers["location"] == site.url("element")


@pytest.mark.parametrize("host", ["", "www"])
@pytest.mark.parametrize("part", ["client", "server"])
def test_matrix_is_found_at_the_domain(site: LabSite, host: str, part: str) -> None:
    """K60, K75: right content and type, and open for a browser's app from anywhere."""
    answer = site.get(host, f"/.well-known/matrix/{part}", origin="https://app.element.io")
    homeserver = {"m.homeserver": {"base_url": site.url("matrix", "")}}
    meetings = {"io.element.jitsi": {"preferredDomain": site.stack.site.fqdn("meet")}}
    server = {"m.server": site.stack.site.fqdn("matrix") + ":443"}
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.text) == (homeserver | meetings if part == "client" else server)
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(("host", "path"), PROTECTED)
def test_strangers_are_sent_to_the_sign_on(site: LabSite, host: str, path: str) -> None:
    """K14, K61, K64, K65: protected names redirect to auth., and will come back to where they were."""
    answer = site.get(host, path)
    target = urlsplit(answer.headers["location"])
    assert answer.status_code == 302
    assert (target.hostname, target.path) == (site.stack.site.fqdn("auth"), "/application/o/authorize/")
    assert parse_qs(target.query)["redirect_uri"][0].startswith(site.url(host))


@pytest.mark.parametrize(("host", "path"), PROTECTED)
def test_nobody_signs_in_with_a_header_of_his_own(site: LabSite, host: str, path: str) -> None:
    """K65: what only the sign-on may say is removed when a client says it."""
    answer = site.get(
        host, path, X_Authentik_Username="admin", X_Authentik_Groups="kmu-admins", Remote_User="admin",
        x_authentik_uid="1",
    )  # fmt: skip
    assert answer.status_code == 302


def test_open_files_of_element_get_no_forged_headers_either(site: LabSite) -> None:
    """K65, K70: Element's own configuration needs no login, so that an expired session does not break the app."""
    answer = site.get("element", "/config.json")
    assert answer.status_code == 200
    assert answer.json()["default_server_config"]["m.homeserver"]["base_url"] == site.url("matrix", "")


def test_a_member_of_staff_signs_in_once_for_all(site: LabSite) -> None:
    """K35, K39, K65, K74, K102: the first admin, who has no password, comes in by a link and finds every door open."""
    with site.browser() as browser:
        form = browser.get(site.url("logs"), follow_redirects=True)
        assert urlsplit(str(form.url)).hostname == site.stack.site.fqdn("auth")
        link = report(site.kmuctl("--json", "login-link"))["link"]
        assert site.stack.site.admin.username in browser.get(link, follow_redirects=True).text
        for host, path in PROTECTED[:3]:
            seen = browser.get(site.url(host, path), follow_redirects=True)
            assert (str(seen.url), seen.status_code) == (site.url(host, path), 200), host
        assert browser.get(link).status_code == 404


@contextmanager
def colleague(site: LabSite, *groups: str) -> Iterator[httpx.Client]:
    """Somebody of these groups, signed in to Authentik, and gone afterwards."""
    keys = [row["pk"] for row in api(site, "core/groups/")["results"] if row["name"] in groups]
    person = {"username": "colleague", "name": "A Colleague", "email": "colleague@elsewhere.example", "groups": keys}
    key = api(site, "core/users/", "POST", {**person, "path": "users", "type": "internal"})["pk"]
    try:
        api(site, f"core/users/{key}/set_password/", "POST", {"password": "for this test"})
        with site.browser() as browser:
            assert sign_in(site, browser, "colleague", "for this test")
            yield browser
    finally:
        api(site, f"core/users/{key}/", "DELETE")


@pytest.mark.parametrize(
    ("groups", "opened"),
    [((), set()), (("kmu-users",), {"element", "meet"}), (("kmu-admins",), {"element", "meet", "logs", "admin"})],
    ids=["nobody's", "staff", "administrators"],
)
def test_a_door_opens_for_its_groups_alone(site: LabSite, groups: tuple[str, ...], opened: set[str]) -> None:
    """K39, K65: whom Authentik refuses it keeps; at meet. only the hosts' token asks for an account."""
    with colleague(site, *groups) as browser:
        seen = {host: browser.get(site.url(host, path), follow_redirects=True) for host, path in PROTECTED}
    assert {host for host, answer in seen.items() if answer.url.host == site.stack.site.fqdn(host)} == opened
    assert {answer.status_code for host, answer in seen.items() if host not in opened} <= {403}


def test_the_panel_is_behind_the_hosts_door(site: LabSite, person: httpx.Client) -> None:
    """K65: at meet., where guests get Jitsi's own page, with the headers that only the panel sends."""
    token = person.get(site.url("meet", "/_sso/room"), follow_redirects=True)
    assert token.headers["cross-origin-opener-policy"] == "same-origin"
    assert "cross-origin-opener-policy" not in person.get(site.url("meet", "/room")).headers


def test_a_link_for_nobody_is_refused(site: LabSite) -> None:
    done = site.kmuctl("login-link", "nobody")
    assert (done.returncode, "User 'nobody' not found." in done.stderr) == (1, True)


def test_a_wrong_password_opens_nothing(site: LabSite) -> None:
    """K65."""
    with site.browser() as browser:
        form = browser.get(site.url("admin"), follow_redirects=True)
        browser.post(str(form.url), data={"uid_field": site.stack.site.admin.username, "password": "wrong"})
        assert browser.get(site.url("admin")).status_code == 302


def test_akadmin_does_not_wait_for_its_first_visitor(site: LabSite) -> None:
    """K104: the setup page, which lets anybody become administrator, is shut."""
    assert site.get("auth", "/if/flow/initial-setup/").status_code == 404


def test_meetings_are_open_to_guests(site: LabSite) -> None:
    """K10, K63, K76: no login for a room, and the signalling behind the page answers."""
    assert site.get("meet").status_code == 200
    assert site.get("meet", "/config.js").status_code == 200
    assert site.get("meet", "/http-bind").status_code == 200


def test_mail_answers_from_stalwart_without_its_numbers(site: LabSite) -> None:
    """K12, K62: people find their account, mail programs their door; the metrics, a password to guess, stay inside."""
    assert site.get("mail").headers["location"] == "/account"
    assert site.get("mail", "/account/").status_code == 200
    assert site.get("mail", "/.well-known/jmap").headers["location"].endswith("/jmap/session")
    assert site.get("mail", "/metrics/prometheus").status_code == 404


@pytest.mark.parametrize("host", ["autoconfig", "autodiscover", "mta-sts"])
def test_the_names_for_mail_programs_reach_stalwart(site: LabSite, host: str) -> None:
    """K62: one and the same server behind each of them."""
    assert site.get(host, "/healthz/live").status_code == 200


def test_mail_from_other_servers_is_greeted(site: LabSite) -> None:
    """K12, K83: port 25 is open from the start; the others follow with the mail server's plan."""
    with smtplib.SMTP(HERE, 25, timeout=10) as client:
        assert client.ehlo("client.example")[0] == 250


def test_turn_has_a_name_and_no_page(site: LabSite) -> None:
    """K79: the name is there for its certificate."""
    assert site.get("turn").status_code == 404


@pytest.mark.parametrize("path", ["/", "/some/where?x=1"])
def test_plain_http_is_led_to_https(site: LabSite, path: str) -> None:
    """K2: every name, with its path."""
    for name in site.stack.hosts():
        with httpx.Client(transport=AtThisMachine(), trust_env=False) as client:
            answer = client.get(f"http://{name}{path}")
        assert (answer.status_code, answer.headers["location"]) == (308, f"https://{name}{path}")


def test_every_name_has_a_certificate_of_its_own(site: LabSite) -> None:
    """K2, K57, D31: checked by name against the stack's own authority."""
    with site.browser() as browser:
        for name in site.stack.hosts():
            assert browser.get(f"https://{name}/").status_code < 500, name


@pytest.mark.parametrize("host", ["", "element", "logs", "admin", "meet", "matrix", "mail"])
def test_pages_carry_the_security_headers(site: LabSite, host: str) -> None:
    """K2: also on redirects; no program name is told."""
    headers = site.get(host).headers
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert "server" not in headers


def test_meetings_may_stand_in_a_frame_of_our_apps_alone(site: LabSite) -> None:
    """K75: other pages in no frame but their own."""
    assert site.get("").headers["x-frame-options"] == "SAMEORIGIN"
    meet = site.get("meet").headers
    assert meet["content-security-policy"] == (
        f"frame-ancestors 'self' {site.url('element', '')} {site.url('cloud', '')}"
    )
    assert "x-frame-options" not in meet


def test_the_management_door_of_caddy_is_shut(site: LabSite) -> None:
    """K2: neither its admin interface nor its metrics are published."""
    for port in (2019, 9180):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((HERE, port), timeout=3)


def test_what_caddy_serves_is_logged_for_the_firewall(site: LabSite) -> None:
    """K66: a JSON line with the address of the client, in a file on the host; tokens are blackened."""
    site.get("", "/seen-by-fail2ban?token=geheim")
    log = site.folder / "data/caddy/logs/access.log"
    line = next(line for line in reversed(log.read_text().splitlines()) if "seen-by-fail2ban" in line)
    entry = json.loads(line)
    assert (entry["status"], entry["request"]["uri"]) == (404, "/seen-by-fail2ban?token=REDACTED")
    assert entry["request"]["client_ip"]
