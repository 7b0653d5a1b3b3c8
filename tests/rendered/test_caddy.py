"""The Caddyfile: who answers where, who must sign in, and what never gets past the door.

Rows K2, K14, K19, K57-K66, K110, U48-U53, L2, L21.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rendered import caddyfile
from tests.rendered.caddyfile import Line, walk
from tests.rendered.sites import EXTRA_SITES, IDN_ASCII, SITES, Project, project, project_of

ROUTES = {
    "": "homepage:8080", "www": "homepage:8080", "auth": "authentik-server:9000", "cloud": "nextcloud:80",
    "matrix": "synapse:8008", "element": "element:8080", "meet": "jitsi-web:8000", "mail": "stalwart:8080",
    "autoconfig": "stalwart:8080", "autodiscover": "stalwart:8080", "mta-sts": "stalwart:8080", "logs": "dozzle:8080",
    "admin": "panel:8000",
}  # fmt: skip


def sites(site: str = "core") -> dict[str, list[Line]]:
    return caddyfile.sites(project(site).text("caddy/Caddyfile"))


def host(label: str, site: str = "core") -> list[Line]:
    return sites(site)[project(site).stack.site.fqdn(label)]


def options(site: str) -> list[list[str]]:
    top = caddyfile.read(project(site).text("caddy/Caddyfile"))[0]
    assert top.words == []
    return [line.words for line in walk(top.block)]


def handled(lines: list[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Each `handle` with its paths (those of the matcher it names); a site without any is one block for all."""
    matchers = {line.name: " ".join(line.words[2:]) for line in lines if line.name.startswith("@")}
    for line in lines:
        if line.name == "handle":
            path = " ".join(line.words[1:])
            yield matchers.get(path, path), line.block
    if not any(line.name == "handle" for line in lines):
        yield "", lines


def protected(lines: list[Line]) -> dict[str, bool]:
    """Path -> whether a login is asked for before the request is passed on."""
    return {
        path: any(line.name == "forward_auth" for line in walk(block))
        for path, block in handled(lines)
        if any(line.name == "reverse_proxy" for line in walk(block))
    }


@pytest.mark.parametrize(("label", "upstream"), ROUTES.items())
def test_each_name_leads_to_its_service(label: str, upstream: str) -> None:
    assert upstream in caddyfile.upstreams(host(label))


@pytest.mark.parametrize("label", ["logs", "admin"])
def test_administration_needs_a_login(label: str) -> None:
    assert protected(host(label)) == {"/outpost.goauthentik.io/*": False, "": True}


def test_element_needs_a_login_but_for_its_own_files() -> None:
    found = protected(host("element"))
    assert found.pop("") is True
    public = " ".join(found)
    assert set(found.values()) == {False}
    assert "/config.json" in public
    assert "/bundles/*" in public


def test_meetings_are_open_to_guests_and_hosts_sign_in() -> None:
    assert protected(host("meet")) == {"/outpost.goauthentik.io/*": False, "/_sso/*": True, "": False}


@pytest.mark.parametrize("label", ["", "auth", "cloud", "matrix", "mail"])
def test_services_with_their_own_login_are_not_asked_twice(label: str) -> None:
    assert True not in protected(host(label)).values()


@pytest.mark.parametrize("site", SITES)
def test_no_client_may_claim_to_be_signed_in(site: str) -> None:
    """Deleted on every site, before anything is passed on (request_header comes first in Caddy's order)."""
    for name, lines in sites(site).items():
        if caddyfile.upstreams(lines):
            assert ["request_header", "-X-Authentik-*"] in [line.words for line in lines], name


@pytest.mark.parametrize("site", SITES)
def test_every_site_writes_the_access_log(site: str) -> None:
    """K66: one file, rotated, readable for fail2ban on the host; tokens in addresses are not kept."""
    for name, lines in sites(site).items():
        if name == ":9180":
            continue
        log = next(line for line in lines if line.name == "log")
        words = [line.words for line in walk(log.block)]
        assert ["output", "file", "/var/log/caddy/access.log"] in words, name
        assert ["wrap", "json"] in words
        assert ["time_format", "rfc3339"] in words
        assert {word[0]: word[1] for word in words if ">" in word[0]} == {
            "request>uri": "regexp", "resp_headers>Location": "regexp", "request>headers>Referer": "delete",
        }  # fmt: skip
        assert any(word[0] == "roll_keep" for word in words)


def test_the_log_folder_is_on_the_host() -> None:
    assert ("../data/caddy/logs", "/var/log/caddy", "rw") in project().mounts("caddy")


def answers(lines: list[Line], path: str) -> dict[str, Any]:
    block = next(line.block for line in lines if line.words == ["handle", path])
    headers = [line.words for line in block if line.name == "header"]
    respond = next(line.words for line in block if line.name == "respond")
    assert ["header", "Content-Type", "application/json"] in headers
    assert respond[2] == "200"
    found: dict[str, Any] = json.loads(respond[1].strip("`"))
    return found


@pytest.mark.parametrize("label", ["", "www"])
def test_matrix_clients_and_servers_find_the_way(label: str) -> None:
    lines = host(label)
    assert answers(lines, "/.well-known/matrix/client") == {
        "m.homeserver": {"base_url": "https://matrix.acme.example"},
        "io.element.jitsi": {"preferredDomain": "meet.acme.example"},
    }
    assert answers(lines, "/.well-known/matrix/server") == {"m.server": "matrix.acme.example:443"}
    client = next(line for line in lines if line.words[1:] == ["/.well-known/matrix/client"])
    assert ["header", "Access-Control-Allow-Origin", "*"] in [line.words for line in client.block]


def test_the_way_to_matrix_follows_the_apps() -> None:
    assert answers(host("", "without jitsi"), "/.well-known/matrix/client") == {
        "m.homeserver": {"base_url": "https://matrix.acme.example"}
    }
    assert answers(host("", "umlaut domain"), "/.well-known/matrix/server") == {"m.server": f"matrix.{IDN_ASCII}:443"}
    assert ".well-known/matrix" not in project("without synapse").text("caddy/Caddyfile")


def test_calendars_and_contacts_are_found() -> None:
    redirects = {line.words[1]: line.words[2:] for line in host("cloud") if line.name == "redir"}
    assert redirects == {
        "/.well-known/carddav": ["/remote.php/dav/", "301"],
        "/.well-known/caldav": ["/remote.php/dav/", "301"],
        "/.well-known/webfinger": ["/index.php/.well-known/webfinger", "301"],
        "/.well-known/nodeinfo": ["/index.php/.well-known/nodeinfo", "301"],
    }


def test_the_matrix_admin_interface_stays_inside() -> None:
    blocks = dict(handled(host("matrix")))
    assert [line.words for line in blocks["/_synapse/*"]] == [["respond", "404"]]
    assert set(protected(host("matrix"))) == {"/_matrix/* /_synapse/client/*"}
    assert [line.words for line in blocks[""]] == [["redir", "https://element.acme.example/", "302"]]


def test_mail_keeps_its_numbers_to_itself() -> None:
    assert [line.words for line in dict(handled(host("mail")))["/metrics/*"]] == [["respond", "404"]]


def test_turn_is_there_for_its_certificate_only() -> None:
    assert caddyfile.upstreams(host("turn")) == set()


def test_meetings_may_be_framed_by_our_own_apps_only() -> None:
    """Element and Nextcloud embed them; X-Frame-Options could not say so."""
    words = [line.words for line in walk(host("meet"))]
    assert not any("X-Frame-Options" in word for line in words for word in line)
    assert [
        "header",
        "Content-Security-Policy",
        "\"frame-ancestors 'self' https://element.acme.example https://cloud.acme.example\"",
    ] in words
    for label in ("logs", "admin", "element", ""):
        assert ["?X-Frame-Options", "SAMEORIGIN"] in [line.words for line in walk(host(label))]


@pytest.mark.parametrize("site", SITES)
def test_containers_may_move(site: str) -> None:
    """L21, L22: names, looked up at every connection, and patience while one restarts."""
    proxies = [
        line for lines in sites(site).values() for line in walk(lines) if line.name in ("reverse_proxy", "forward_auth")
    ]
    for proxy in proxies:
        assert any(line.name == "lb_try_duration" for line in proxy.block), proxy.words
        assert not any(line.name == "dynamic" for line in proxy.block)


def test_lets_encrypt_can_be_rehearsed() -> None:
    """K57: the address for warnings, and a switch for certificates that nobody trusts yet."""
    rehearsal = caddyfile.read(project_of(tls={"staging": True, "email": "tls@acme.example"}).text("caddy/Caddyfile"))
    found = [line.words for line in rehearsal[0].block]
    assert ["email", "tls@acme.example"] in found
    assert ["acme_ca", "https://acme-staging-v02.api.letsencrypt.org/directory"] in found


def test_tls_modes() -> None:
    assert ["email", "max@acme.example"] in options("core")
    assert ["acme_ca", "https://acme-v02.api.letsencrypt.org/directory"] in options("core")
    assert ["local_certs"] in options("own CA")
    assert ["auto_https", "off"] in options("no TLS")
    for site in ("own CA", "own certificate", "no TLS"):
        assert not any(line[0] == "acme_ca" for line in options(site)), site
    for name, lines in sites("own certificate").items():
        own = ["tls", "/certs/site.crt", "/certs/site.key"] in [line.words for line in lines]
        assert own == (name != ":9180"), name


@pytest.mark.parametrize("site", SITES)
def test_one_door_for_all_web_traffic(site: str) -> None:
    """U11, L2: Caddy alone has ports 80 and 443, and no other proxy reads its routes off the containers."""
    present = project(site)
    doors = {name for name in present.containers for port in ports(present, name) if port in ("80", "443")}
    assert doors == {"caddy"}
    assert not any("traefik" in label for item in present.containers.values() for label in item["labels"])


def ports(present: Project, container: str) -> list[str]:
    return [str(mapping).split(":")[1] for mapping in present.containers[container].get("ports", ())]


def test_without_tls_every_site_is_plain_http() -> None:
    """U11: the same door for a network without TLS."""
    top = caddyfile.read(project("no TLS").text("caddy/Caddyfile"))
    addresses = [line.name for line in top if line.words and not line.name.startswith("(")]
    assert all(address.startswith("http://") for address in addresses)
    assert len(addresses) == len(project("no TLS").stack.hosts()) + 1


def test_a_proxy_in_front_is_trusted_by_its_address_only() -> None:
    assert ["trusted_proxies", "static", "192.0.2.10", "2001:db8::/64"] in options("behind a proxy")
    assert ["trusted_proxies_strict"] in options("behind a proxy")
    assert not any(line[0] == "trusted_proxies" for line in options("core"))


def test_extra_sites() -> None:
    """U50: they lead to their upstream, behind the login unless they say otherwise."""
    for name, extra in EXTRA_SITES.items():
        found = protected(host(name, "extra sites"))
        assert str(extra["upstream"]) in caddyfile.upstreams(host(name, "extra sites"))
        assert found[""] is (name == "wiki")
    assert project("extra sites").containers["caddy"] == project("core").containers["caddy"]


def test_the_management_door_is_shut() -> None:
    assert ["admin", "unix//run/caddy-admin.sock"] in options("core")
    assert not any("2019" in word for line in options("core") for word in line)
    assert "9180" not in " ".join(project().containers["caddy"]["ports"])
