"""The stack: every view that is derived from site and catalog."""

from __future__ import annotations

import ipaddress
import re
from itertools import combinations
from typing import Any

import pytest

from kmuctl.model.errors import ConfigError
from kmuctl.model.secrets import signing_key
from kmuctl.model.service import Oidc, Port, Proxy, Record, Service
from kmuctl.model.stack import Outgoing
from kmuctl.services import CATALOG, NAMES
from tests.support import stack

WITHOUT_MAIL = {"apps": {"stalwart": False}}
OFF_ALONE = sorted(
    service.name
    for service in CATALOG
    if not service.essential and not any(service.name in other.needs for other in CATALOG)
)


def hosts(**changes: object) -> list[str]:
    return [name.removesuffix("acme.example").rstrip(".") for name in stack(**changes).hosts()]


def test_every_public_name() -> None:
    """K19 K21: one table for Caddy, DNS and the start page."""
    assert set(hosts()) == {
        "", "www", "auth", "cloud", "matrix", "element", "meet", "mail", "logs", "admin", "turn",
        "autoconfig", "autodiscover", "mta-sts",
    }  # fmt: skip


def test_routes_lead_to_containers() -> None:
    """K58 K59 K60 K61 K62 K63 K64."""
    routes = {route.host: (route.to, route.port) for route in stack().routes()}
    assert routes["auth"] == ("authentik-server", 9000)
    assert routes["cloud"] == ("nextcloud", 80)
    assert routes["matrix"] == ("synapse", 8008)
    assert routes["meet"] == ("jitsi-web", 8000)
    assert routes["logs"] == ("dozzle", 8080)
    names = {container.name for container in stack().containers()}
    assert {route.to for route in stack().routes() if route.to} <= names


@pytest.mark.parametrize("app", OFF_ALONE)
def test_an_app_switched_off_leaves_nothing_behind(app: str) -> None:
    """U30 U48 U49: no route, port, record, database, network, secret or container of its own."""
    full, less = stack(), stack(apps={app: False})
    gone = full[app]
    assert app not in less
    assert less.switched_off == (gone,)
    assert {service.name for service in full.services} - {service.name for service in less.services} == {app}
    assert len(full.containers()) - len(less.containers()) == len(gone.containers)
    assert len(full.ports()) - len(less.ports()) == len(gone.ports)
    assert len(full.databases()) - len(less.databases()) == len(gone.databases)
    assert len(full.networks()) - len(less.networks()) == len(gone.networks)
    assert not {route.host for route in gone.routes} & {route.host for route in less.routes()}
    assert not {spec.name for spec in gone.secrets} & {spec.name for spec in less.secrets()}
    assert full.memory() - less.memory() == sum(container.memory for container in gone.containers)


@pytest.mark.parametrize(
    ("off", "needed_by"), [("synapse", "element"), ("panel", "usersync")], ids=["synapse", "panel"]
)
def test_what_others_need_cannot_go_alone(off: str, needed_by: str) -> None:
    """U78's ground: the message names both, and both ways out."""
    with pytest.raises(ConfigError) as caught:
        stack(apps={off: False})
    assert caught.value.message == f"apps.{needed_by}: needs `{off}`, which is switched off"
    assert caught.value.hint == f"set `{off} = true` or `{needed_by} = false` under [apps]"
    assert off not in stack(apps={off: False, needed_by: False})


def test_address_records() -> None:
    """K21."""
    records = [record for record in stack().records() if record.type == "A"]
    assert Record("@", "A", "203.0.113.7") in records
    assert Record("cloud", "A", "203.0.113.7") in records
    assert len(records) == len(stack().hosts())
    assert not [record for record in stack().records() if record.type == "AAAA"]


def test_records_without_a_known_address_say_so() -> None:
    assert Record("@", "A", "<the server's IPv4 address>") in stack(host={}).records()


def test_mail_records() -> None:
    """K21: MX, SPF, DMARC, SRV; none of them without mail."""
    assert {Record("@", "MX", "10 mail.acme.example."), Record("@", "TXT", "v=spf1 mx -all")} <= set(stack().records())
    without = stack(apps={"stalwart": False}).records()
    assert not [record for record in without if "mail" in record.name + record.value or record.type == "MX"]


@pytest.mark.parametrize(
    ("relay", "value"),
    [
        ({}, "v=spf1 mx include:<SPF name of smtp.provider.example> -all"),
        ({"spf": "_spf.provider.example"}, "v=spf1 mx include:_spf.provider.example -all"),
    ],
)
def test_spf_with_a_relay(relay: dict[str, str], value: str) -> None:
    """K21: what the site file does not say is left open: a guess would have mail refused."""
    wanted = {"host": "smtp.provider.example", "username": "acme", **relay}
    record = Record("@", "TXT", value)
    assert record in stack(mail={"relay": wanted}).records()
    assert record.complete == bool(relay)


FILES = {"certificate": "/etc/ssl/site.crt", "key": "/etc/ssl/site.key"}


@pytest.mark.parametrize(
    ("tls", "mode", "caa"),
    [
        ({"mode": "acme"}, "enforce", True),
        ({"mode": "acme", "staging": True}, "disable", True),
        ({"mode": "internal"}, "disable", False),
        ({"mode": "files", **FILES}, "testing", False),
        ({"mode": "off"}, "disable", False),
        ({"mode": "off", **FILES}, "testing", False),
    ],
)
def test_what_other_servers_may_expect_of_certificates(tls: dict[str, Any], mode: str, caa: bool) -> None:
    """K21: a policy for mail, and who certifies; nothing is promised that a certificate of one's own cannot keep."""
    found = stack(tls=tls)
    assert found.site.mta_sts == mode
    types = {record.type for record in found.records()}
    assert ("CAA" in types) == caa
    assert any(record.name == "_mta-sts" for record in found.records()) == (mode != "disable")


def test_another_policy_has_another_id() -> None:
    """Other servers read it again then, and only then."""

    def sts(**changes: Any) -> str:
        return next(record.value for record in stack(**changes).records() if record.name == "_mta-sts")

    others = [sts(tls={"mode": "files", **FILES}), sts(domain="other.example")]
    assert len({sts(), *others}) == 3
    assert sts(name="Another GmbH") == sts()
    assert re.fullmatch(r"v=STSv1; id=[0-9a-f]{20}", sts())


@pytest.mark.parametrize(("nextcloud", "host"), [(True, "cloud"), (False, "mail")])
def test_calendars_are_found_where_they_are(nextcloud: bool, host: str) -> None:
    records = stack(apps={"nextcloud": nextcloud}).records()
    assert Record("_caldavs._tcp", "SRV", f"0 1 443 {host}.acme.example.") in records


def test_records_of_an_extra_site() -> None:
    extra = stack(sites={"wiki": {"upstream": "192.0.2.10:3000"}})
    assert Record("wiki", "A", "203.0.113.7") in extra.records()


def test_ports() -> None:
    """K22 K79 K80 K83: one table; each number once."""
    ports = [str(port) for port in stack().ports()]
    wanted = "80/tcp 443/tcp 443/udp 25/tcp 465/tcp 587/tcp 993/tcp 4190/tcp 10000/udp 3478/tcp 3478/udp 5349/tcp"
    assert set(ports) == {*wanted.split(), "49160-49200/udp"}
    single = [(number, port.protocol) for port in stack().ports() for number in port.numbers()]
    assert len(single) == len(set(single))
    assert (143, "tcp") not in single


def test_without_tls_nobody_needs_its_port() -> None:
    ports = {str(port) for port in stack().ports()} - {str(port) for port in stack(tls={"mode": "off"}).ports()}
    assert ports == {"443/tcp", "443/udp"}


def test_ports_are_published_on_ipv4_alone() -> None:
    """The networks behind have nothing else: a client of IPv6 would come with Docker's own address."""
    port = Port(10, "udp", "x", last=12)
    assert (port.mapping, list(port.numbers())) == ("0.0.0.0:10-12:10-12/udp", [10, 11, 12])
    assert Port(25, "tcp", "x").mapping == "0.0.0.0:25:25/tcp"


def test_databases() -> None:
    """K5: Synapse insists on C collation."""
    assert {database.name: database.collation for database in stack().databases()} == {
        "authentik": "", "nextcloud": "", "synapse": "C", "stalwart": "",
    }  # fmt: skip


@pytest.mark.parametrize("service", CATALOG, ids=lambda service: service.name)
def test_services_start_after_those_they_need(service: Service) -> None:
    """D35 L29."""
    order = [known.name for known in stack().in_order()]
    assert sorted(order) == sorted(known.name for known in CATALOG)
    assert all(order.index(need) < order.index(service.name) for need in service.needs)


def test_network_numbers_are_given_once() -> None:
    """K32: a number picks the address range for good."""
    networks = [network for service in CATALOG for network in service.networks]
    assert len({network.number for network in networks}) == len(networks)
    assert len({network.name for network in networks}) == len(networks)
    assert all(0 <= network.number < 16 for network in networks)


def test_subnets_do_not_overlap_and_lie_in_the_sites_own() -> None:
    """K32 L21."""
    ranges = [ipaddress.ip_network(subnet) for subnet in stack().subnets()]
    assert all(network.subnet_of(ipaddress.ip_network("10.231.112.0/20")) for network in ranges)  # type: ignore[arg-type]
    assert not any(one.overlaps(other) for one, other in combinations(ranges, 2))


def test_a_networks_address_does_not_depend_on_the_apps() -> None:
    """Switching an app off moves nobody."""
    less = stack(apps={"jitsi": False, "nextcloud": False})
    assert {network.name: less.subnet(network.name) for network in less.networks()}.items() <= {
        network.name: stack().subnet(network.name) for network in stack().networks()
    }.items()
    assert stack().subnet("proxy") == "10.231.112.0/24"
    assert stack().address("proxy", 7) == "10.231.112.7"


def test_networks_between_services_are_internal() -> None:
    """L19 K32: only those that must reach the internet do."""
    assert {network.name for network in stack().networks() if not network.internal} == {"proxy", "media", "turn"}


def test_an_image_can_be_replaced() -> None:
    replaced = stack(images={"nextcloud-valkey": "mirror.example/valkey:9.2"})
    images = {container.name: container.image for container in replaced.containers()}
    assert images["nextcloud-valkey"] == "mirror.example/valkey:9.2"
    assert images["nextcloud"] == stack()["nextcloud"].containers[0].image


@pytest.mark.parametrize(
    ("one", "other"),
    [("authentik-server", "authentik-worker"), ("nextcloud", "nextcloud-cron"), ("usersync", "panel")],
)
def test_one_program_has_one_version(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match=rf"^images\.{one} and images\.{other}: are one program"):
        stack(images={other: "mirror.example/it:2.0"})
    both = stack(images=dict.fromkeys((one, other), "mirror.example/it:2.0"))
    assert [c.name for c in both.containers() if c.image == "mirror.example/it:2.0"] == sorted((one, other))


def test_caddy_and_the_start_page_only_happen_to_share_an_image() -> None:
    assert stack(images={"caddy": "caddy:2.11.8"})["homepage"].containers[0].image == "caddy:2.11.7"


def test_every_image_is_pinned() -> None:
    """K82."""
    for container in stack().containers():
        _, _, tag = container.image.rpartition(":")
        assert any(letter.isdigit() for letter in tag), container.image


def test_one_login_each() -> None:
    """K8 K65: who signs in by itself, whom Caddy protects."""
    kinds = {service.name: type(service.login) for service in stack().logins()}
    assert {name for name, kind in kinds.items() if kind is Oidc} == {"nextcloud", "synapse"}
    assert {name for name, kind in kinds.items() if kind is Proxy} == {"element", "jitsi", "dozzle", "panel"}
    assert [service.name for service in stack().protected()] == ["element", "jitsi", "dozzle", "panel"]


def test_secrets_are_declared_once() -> None:
    names = [spec.name for spec in stack().secrets()]
    assert len(names) == len(set(names))


def test_who_may_read_what() -> None:
    """K106 K109: client secrets for Authentik and their app alone; the TURN secret for its three."""
    known = stack()
    readers = {
        name: {service.name for service in known.services if name in known.readable(service)}
        for name in (spec.name for spec in known.secrets())
    }
    assert readers["nextcloud_oidc_secret"] == {"nextcloud", "authentik"}
    assert readers["turn_secret"] == {"coturn", "synapse", "jitsi"}
    assert readers["postgres_password"] == {"postgres"}
    assert readers["synapse_db_password"] == {"synapse"}
    assert all(readers.values())


def test_secrets_of_an_app_that_is_off_are_nobodys() -> None:
    less = stack(apps={"coturn": False})
    assert not any("turn_secret" in less.readable(service) for service in less.services)


def test_the_relay_password_exists_with_a_relay_only() -> None:
    """L20: read by the mail server, or by whoever sends without one."""
    relay = {"relay": {"host": "smtp.provider.example", "username": "acme"}}
    assert "mail_relay_password" not in {spec.name for spec in stack().secrets()}
    for changes, readers in (({}, {"stalwart"}), (WITHOUT_MAIL, {"authentik", "nextcloud", "synapse"})):
        present = stack(mail=relay, **changes)
        (spec,) = [spec for spec in present.secrets() if spec.name == "mail_relay_password"]
        assert spec.make is None
        reading = {service.name for service in present.services if spec.name in present.readable(service)}
        assert reading == readers


def test_who_takes_the_services_own_mail() -> None:
    """L20: the own server, without it the relay, without both nobody."""
    relay = {"relay": {"host": "smtp.provider.example", "port": 465, "username": "acme"}}
    ours = Outgoing(
        "mail.acme.example", 465, "noreply@acme.example", "authentik_noreply_password", "noreply@acme.example"
    )
    assert stack().outgoing == stack(mail=relay).outgoing == ours
    assert stack(mail=relay, **WITHOUT_MAIL).outgoing == Outgoing(
        "smtp.provider.example", 465, "acme", "mail_relay_password", "noreply@acme.example"
    )
    assert stack(**WITHOUT_MAIL).outgoing is None


def test_what_data_depends_on_is_sealed() -> None:
    sealed = {spec.name for spec in stack().secrets() if spec.sealed}
    assert sealed == {
        "postgres_password", "authentik_secret_key", "authentik_bootstrap_password", "authentik_bootstrap_token",
        "synapse_signing_key",
    }  # fmt: skip
    assert next(spec for spec in stack().secrets() if spec.name == "synapse_signing_key").make is signing_key


def test_apps_on_the_start_page() -> None:
    """K13 K91 D37 U36: what is on, in the site's language; any other falls back to English."""
    titles = {str(app["title"]): app for app in stack().apps()}
    assert titles["Nextcloud"]["text"] == "Dateien, Kalender, Kontakte"
    assert titles["Nextcloud"]["url"] == "https://cloud.acme.example/"
    assert titles["Logs"]["admins"] is True
    french = {str(app["title"]): app["text"] for app in stack(language="fr").apps()}
    assert french["Nextcloud"] == "Files, calendars, contacts"
    assert "Nextcloud" not in {app["title"] for app in stack(apps={"nextcloud": False}).apps()}


def test_the_core_fits_a_server_of_8_gb() -> None:
    """D47: all limits together, with room for the system."""
    assert stack().memory() <= 7680


def test_the_catalog_is_consistent() -> None:
    """U52: one service each, one owner for every name, and Caddy alone on the web's ports."""
    containers = [container.name for service in CATALOG for container in service.containers]
    routes = [route.host for service in CATALOG for route in service.routes]
    assert len(set(containers)) == len(containers)
    assert len(set(routes)) == len(routes)
    assert NAMES.apps | NAMES.essential == {service.name for service in CATALOG}
    web = [service.name for service in CATALOG for port in service.ports if port.number in (80, 443)]
    assert set(web) == {"caddy"}


def test_an_undeclared_data_folder_is_a_bug() -> None:
    with pytest.raises(LookupError, match="declares no data folder"):
        stack()["nextcloud"].path("wrong")
