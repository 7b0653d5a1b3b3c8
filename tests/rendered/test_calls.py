"""Jitsi and coturn against upstream's own lists (tests/data/jitsi-*), and the one secret they share with Synapse.

Rows K10, K11, K42, K63, K76, K77, K79, K108, K109, K113.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

import pytest

from tests.rendered.sites import having, known, project, secret_value

DATA = Path(__file__).parents[1] / "data"
PARTS = ("web", "prosody", "jicofo", "jvb")
WITH_JITSI = having("jitsi")
WITH_COTURN = having("coturn")
BOOLEAN = re.compile(r"(ENABLE|DISABLE)_|_ENABLE_|_DISABLE_|_PRIVATE_CANDIDATES$|_ALLOW_EMPTY$")
DENIED = known("coturn-denied-peers")


def names(file: str) -> set[str]:
    return set((DATA / file).read_text().split())


@cache
def readers() -> dict[str, set[str]]:
    """Variable -> the containers that read it."""
    lines = (DATA / "jitsi-env-by-container.tsv").read_text().splitlines()
    rows = csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t")
    return {row["name"]: set(row["read_by"].split(",")) for row in rows}


def env(part: str, site: str = "core") -> dict[str, str]:
    return project(site).env_file(f"jitsi/{part}.env")


def turnserver(site: str = "core") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in project(site).text("coturn/turnserver.conf").splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("site", WITH_JITSI)
def test_every_jitsi_variable_is_read_by_its_container(site: str, part: str) -> None:
    found = set(env(part, site))
    assert found - names("jitsi-env-vars.txt") == set()
    assert found & (names("jitsi-env-vars-dead.txt") | names("jitsi-env-vars-removed.txt")) == set()
    assert {name for name in found if part not in readers()[name]} == set()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("site", WITH_JITSI)
def test_switches_are_0_or_1_and_values_are_plain(site: str, part: str) -> None:
    """Any other text would count as true; quotes and spaces would reach Lua and JavaScript as they are."""
    for name, value in env(part, site).items():
        if BOOLEAN.search(name):
            assert value in ("0", "1"), name
        assert re.fullmatch(r"[\w./:,@?={}+-]+", value, re.ASCII), f"{name}={value}"


@pytest.mark.parametrize("part", PARTS)
def test_each_container_gets_only_its_own_variables(part: str) -> None:
    assert project().containers[f"jitsi-{part}"]["env_file"] == [f"jitsi/{part}.env"]
    secrets = {
        "web": set(),
        "prosody": {"jitsi_jwt_secret", "jitsi_jicofo_password", "jitsi_jvb_password", "turn_secret"},
        "jicofo": {"jitsi_jicofo_password"},
        "jvb": {"jitsi_jvb_password"},
    }[part]
    known = {spec.name for spec in project().stack.secrets()}
    assert {name for name in known if secret_value(name) in project().text(f"jitsi/{part}.env")} == secrets


def test_jitsi_stands_behind_caddy() -> None:
    """K108."""
    assert env("web")["DISABLE_HTTPS"] == "1"
    assert env("web").get("ENABLE_HTTP_REDIRECT", "0") == "0"
    assert env("web").get("ENABLE_LETSENCRYPT", "0") == "0"
    assert env("web")["PUBLIC_URL"] == env("prosody")["PUBLIC_URL"] == "https://meet.acme.example"
    assert project().stack["jitsi"].routes[0].port == 8000


def test_only_accounts_open_rooms_and_guests_may_join() -> None:
    """K76, K77, U16."""
    for part in ("prosody", "jicofo"):
        assert env(part)["AUTH_TYPE"] == "jwt"
        assert env(part)["AUTH_TYPE"].islower()
    assert {env(part)["ENABLE_AUTH"] for part in ("web", "prosody", "jicofo")} == {"1"}
    assert {env(part)["ENABLE_GUESTS"] for part in ("web", "prosody")} == {"1"}
    assert env("prosody")["JWT_ALLOW_EMPTY"] == "0"
    assert (
        env("prosody")["JWT_APP_ID"]
        == env("prosody")["JWT_ACCEPTED_ISSUERS"]
        == env("prosody")["JWT_ACCEPTED_AUDIENCES"]
    )


def test_the_parts_agree() -> None:
    """K108: the parts know each other's passwords."""
    assert env("prosody")["JICOFO_AUTH_PASSWORD"] == env("jicofo")["JICOFO_AUTH_PASSWORD"]
    assert env("prosody")["JVB_AUTH_PASSWORD"] == env("jvb")["JVB_AUTH_PASSWORD"]
    assert env("web")["ENABLE_XMPP_WEBSOCKET"] == env("prosody")["ENABLE_XMPP_WEBSOCKET"]
    assert env("jicofo")["JICOFO_ENABLE_HEALTH_CHECKS"] == "1"


def test_hosts_fetch_their_token_where_caddy_asks_for_the_login() -> None:
    assert env("web")["TOKEN_AUTH_URL"].startswith("https://meet.acme.example/_sso/")
    assert "TOKEN_AUTH_URL" not in env("web", "without panel")


@pytest.mark.parametrize("site", WITH_JITSI)
def test_the_bridge_is_reached(site: str) -> None:
    """K10, K114: the published port is the one it announces, at the public address if that is known."""
    bridge, host = env("jvb", site), project(site).stack.site.host
    assert project(site).containers["jitsi-jvb"]["ports"] == [f"0.0.0.0:{bridge['JVB_PORT']}:{bridge['JVB_PORT']}/udp"]
    assert bridge.get("JVB_ADVERTISE_IPS", "").split(",")[0] == (host.ipv4 or "")
    assert bridge["JVB_DISABLE_STUN"] == "1"


def test_the_name_that_jitsi_expects() -> None:
    """K113."""
    assert project().containers["jitsi-prosody"]["networks"]["jitsi"]["aliases"] == ["xmpp.meet.jitsi"]
    assert {"jitsi-web", "jitsi-prosody", "jitsi-jicofo", "jitsi-jvb"} == project().members("jitsi")
    assert project().members("proxy") & project().members("jitsi") == {"jitsi-web"}


def test_one_tag_from_the_registry_that_still_gets_releases() -> None:
    images = [project().containers[f"jitsi-{part}"]["image"].split(":") for part in PARTS]
    assert len({tag for _, tag in images}) == 1
    assert [name for name, _ in images] == [f"ghcr.io/jitsi/{part}" for part in PARTS]


def test_the_memory_of_java_fits_the_limit() -> None:
    for part, name in (("jicofo", "JICOFO_MAX_MEMORY"), ("jvb", "VIDEOBRIDGE_MAX_MEMORY")):
        heap = int(env(part)[name].removesuffix("m"))
        assert heap < project().declared(f"jitsi-{part}").memory * 0.75


def test_people_are_told_no_strangers_server() -> None:
    assert env("web")["P2P_STUN_SERVERS"] == "turn.acme.example:3478"


def test_one_secret_for_relayed_calls() -> None:
    """K42, K109: coturn, Jitsi and Synapse hold the same value."""
    value = secret_value("turn_secret")
    assert turnserver()["static-auth-secret"] == [value]
    assert env("prosody")["TURN_CREDENTIALS"] == value
    assert project().files["secrets/synapse/turn_secret"].content.decode() == value
    assert "use-auth-secret" in turnserver()


@pytest.mark.parametrize("site", having("jitsi", "coturn"))
def test_clients_find_the_relay_where_it_listens(site: str) -> None:
    """K108."""
    found, relay = env("prosody", site), turnserver(site)
    turn = project(site).stack.site.fqdn("turn")
    assert {found["TURN_HOST"], found["TURNS_HOST"], *relay["realm"]} == {turn}
    assert [found["TURN_PORT"]] == relay["listening-port"]
    assert [found["TURNS_PORT"]] == relay["tls-listening-port"]
    assert "tcp" in found["TURN_TRANSPORT"].split(",")


@pytest.mark.parametrize("site", WITH_COTURN)
def test_the_relay_reaches_no_private_peer(site: str) -> None:
    assert set(turnserver(site)["denied-peer-ip"]) >= DENIED
    assert {"no-tcp-relay", "no-multicast-peers"} <= set(turnserver(site))
    assert not {"user", "cli", "no-auth", "lt-cred-mech"} & set(turnserver(site))


@pytest.mark.parametrize("site", having("jitsi", "coturn"))
def test_the_relay_reaches_the_bridge_where_it_says_it_is(site: str) -> None:
    """K79: not at the public address, whatever the port: that coturn takes for its own."""
    bridge = project(site).containers["jitsi-jvb"]["networks"]["turn"]["ipv4_address"]
    assert turnserver(site)["allowed-peer-ip"] == [bridge]
    public = project(site).stack.site.host.ipv4
    assert env("jvb", site).get("JVB_ADVERTISE_IPS") == (f"{public},{bridge}" if public else None)
    assert env("jvb", site)["JVB_ADVERTISE_PRIVATE_CANDIDATES"] == ("0" if public else "1")


@pytest.mark.parametrize("site", [name for name in WITH_COTURN if name not in WITH_JITSI])
def test_a_relay_alone_reaches_nobody_inside(site: str) -> None:
    """K79."""
    assert "allowed-peer-ip" not in turnserver(site)


@pytest.mark.parametrize("site", WITH_COTURN)
def test_relayed_media_gets_out(site: str) -> None:
    """The relay range is published as it is, and announced at the public address."""
    relay, host = turnserver(site), project(site).stack.site.host
    spans = f"{relay['min-port'][0]}-{relay['max-port'][0]}"
    assert f"0.0.0.0:{spans}:{spans}/udp" in project(site).containers["coturn"]["ports"]
    own = project(site).containers["coturn"]["networks"]["turn"]["ipv4_address"]
    assert relay.get("external-ip", []) == ([f"{host.ipv4}/{own}"] if host.ipv4 else [])


def test_the_image_is_kept_from_asking_strangers_for_its_address() -> None:
    assert project().containers["coturn"]["command"] == ["-c", "/etc/coturn/turnserver.conf"]
