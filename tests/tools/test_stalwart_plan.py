"""The Stalwart plan and config.json are complete and valid, and the checker would notice if they were not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import AWKWARD_NAME, rendered, stack
from tests.tools.stalwart_schema import check_config, check_plan

RELAY = {"relay": {"host": "smtp.acme.example", "port": 587, "username": "acme"}}
ADMIN = {"username": "mm", "name": AWKWARD_NAME, "email": "max@acme.example"}
SITES: dict[str, dict[str, Any]] = {
    "core": {},
    "awkward name": {"name": AWKWARD_NAME, "admin": ADMIN},
    "relay": {"mail": RELAY},
    "foreign admin address": {"admin": ADMIN | {"email": "max@elsewhere.example"}},
    "admin is postmaster": {"admin": ADMIN | {"email": "Postmaster@acme.example"}},
    "no panel": {"apps": {"panel": False, "usersync": False}},
}


def plan(**changes: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rendered(**changes)["stalwart/plan.ndjson"].splitlines()]


def bodies(name: str, /, **changes: object) -> list[dict[str, Any]]:
    found = [operation for operation in plan(**changes) if operation["object"] == name]
    return [body for operation in found for body in operation["value"].values()]


def singleton(name: str, /, **changes: object) -> dict[str, Any]:
    value: dict[str, Any] = next(operation["value"] for operation in plan(**changes) if operation["object"] == name)
    return value


def files_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (path for key, path in value.items() if key == "filePath")
        for item in value.values():
            yield from files_of(item)


@pytest.mark.parametrize("changes", SITES.values(), ids=SITES)
def test_the_plan_is_valid(changes: dict[str, Any]) -> None:
    assert check_plan(rendered(**changes)["stalwart/plan.ndjson"]) == []


def test_the_config_is_valid() -> None:
    assert check_config(rendered()["stalwart/config.json"]) == []


@pytest.mark.parametrize("changes", SITES.values(), ids=SITES)
def test_secrets_are_files_that_stalwart_may_read(changes: dict[str, Any]) -> None:
    files = rendered(**changes)
    of_this_site = stack(**changes)
    readable = {f"/run/secrets/{name}" for name in of_this_site.readable(of_this_site["stalwart"])}
    used = {*files_of(plan(**changes)), *files_of(json.loads(files["stalwart/config.json"]))}
    used |= {path for operation in plan(**changes) for path in files_of(operation)}
    assert used <= readable
    assert "<secret:" not in files["stalwart/plan.ndjson"] + files["stalwart/config.json"]


def test_free_text_survives() -> None:
    [domain] = bodies("Domain", name=AWKWARD_NAME)
    assert domain["description"] == AWKWARD_NAME


def test_listeners_are_the_published_ports_and_the_internal_http() -> None:
    bound = {int(address.rpartition(":")[2]) for listener in bodies("NetworkListener") for address in listener["bind"]}
    assert bound == {port.number for port in stack()["stalwart"].ports} | {8080}


def test_every_container_network_is_spared_from_bans() -> None:
    assert {allowed["address"] for allowed in bodies("AllowedIp")} == set(stack().subnets())


def test_both_kinds_of_dkim_key() -> None:
    [domain] = bodies("Domain")
    assert set(domain["dkimManagement"]["algorithms"]) == {"Dkim1Ed25519Sha256", "Dkim1RsaSha256"}


def test_without_a_relay_mail_goes_to_the_recipients_server() -> None:
    assert not bodies("MtaRoute")
    assert singleton("MtaOutboundStrategy")["route"]["else"] == "'mx'"


def test_a_relay_is_used_with_strict_tls() -> None:
    [route] = bodies("MtaRoute", mail=RELAY)
    [strategy] = bodies("MtaTlsStrategy", mail=RELAY)
    outbound = singleton("MtaOutboundStrategy", mail=RELAY)
    assert (route["address"], route["port"], route["implicitTls"]) == ("smtp.acme.example", 587, False)
    assert outbound["route"]["else"] == f"'{route['name']}'"
    assert outbound["tls"]["else"] == f"'{strategy['name']}'"
    assert strategy["startTls"] == "require"


def test_port_465_of_a_relay_means_tls_from_the_start() -> None:
    [route] = bodies("MtaRoute", mail={"relay": RELAY["relay"] | {"port": 465}})
    assert route["implicitTls"] is True


def test_the_webhook_goes_to_the_worker_and_only_if_there_is_one() -> None:
    [webhook] = bodies("WebHook")
    assert webhook["url"] == "http://usersync:8001/webhooks/stalwart"
    assert webhook["signatureKey"]["filePath"] == "/run/secrets/stalwart_webhook_key"
    assert not bodies("WebHook", apps={"usersync": False})


def test_postmaster_and_abuse_reach_the_admin() -> None:
    lists = {body["name"]: set(body["recipients"]) for body in bodies("MailingList")}
    assert lists == {"postmaster": {"max@acme.example"}, "abuse": {"max@acme.example"}}


def test_a_list_never_points_at_itself() -> None:
    lists = bodies("MailingList", admin=ADMIN | {"email": "postmaster@acme.example"})
    assert [body["name"] for body in lists] == ["abuse"]


def test_the_first_admin_administers_mail_when_the_mailbox_is_here() -> None:
    """K47."""
    own, account = bodies("Account")
    assert (account["name"], account["roles"]) == ("max", {"@type": "Admin"})
    assert bodies("Account", admin=ADMIN | {"email": "max@elsewhere.example"}) == [own]
    assert own["name"] == "kmuctl"


def test_noreply_may_sign_in_to_mail_and_its_mailbox_is_here() -> None:
    """K84, with the admin's mailbox above: an account in Authentik with our address; Stalwart's filter lets it in."""
    base = rendered()["blueprints/10-base.yaml"]
    assert "identifiers: {username: noreply}" in base
    assert 'email: "noreply@acme.example"' in base
    assert "!File /run/secrets/authentik_noreply_password" in base
    [directory] = bodies("Directory")
    assert "(cn=noreply)" in directory["filterLogin"]
    assert "(cn=noreply)" in directory["filterMailbox"]


def test_the_directory_is_the_one_that_the_blueprints_make() -> None:
    [directory] = bodies("Directory")
    blueprint = rendered()["blueprints/30-ldap.yaml"]
    assert 'base_dn: "dc=acme,dc=example"' in blueprint
    assert "identifiers: {username: ldapservice}" in blueprint
    assert directory["bindDn"] == "cn=ldapservice,ou=users,dc=acme,dc=example"
    assert directory["baseDn"] == "ou=users,dc=acme,dc=example"


def test_ldap_is_switched_on_last() -> None:
    assert [operation["object"] for operation in plan()[-3:]] == ["Directory", "Authentication", "Action"]


DOMAIN = {"@type": "create", "object": "Domain", "value": {"d": {"name": "acme.example"}}}
LISTENER = {"name": "smtp", "bind": {"[::]:25": True}}


def listener(**changes: object) -> dict[str, Any]:
    return {"@type": "upsert", "object": "NetworkListener", "matchOn": ["name"], "value": {"l": LISTENER | changes}}


def update(name: str, /, **value: object) -> dict[str, Any]:
    return {"@type": "update", "object": name, "value": value}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown operation": ({"@type": "replace", "object": "Domain"}, "unknown operation"),
    "unknown key": (DOMAIN | {"matchOn": ["name"]}, "unknown key"),
    "unknown object": ({"@type": "create", "object": "Principal", "value": {}}, "unknown object"),
    "a view": ({"@type": "create", "object": "Account/User", "value": {}}, "unknown object"),
    "created singleton": ({"@type": "create", "object": "Http", "value": {"h": {}}}, "only update"),
    "update without id": (update("Domain", description="x"), "needs an id"),
    "singleton with id": (update("Http", enableHsts=True) | {"id": "singleton"}, "takes no id"),
    "unknown property": (listener(port=25), "unknown property"),
    "server-set property": (
        {"@type": "create", "object": "Domain", "value": {"d": {"name": "a.example", "dnsZoneFile": "x"}}},
        "is serverSet",
    ),
    "immutable in an update": (update("NetworkListener", name="x") | {"id": "#l"}, "is immutable"),
    "Enterprise property": (
        {"@type": "create", "object": "Domain", "value": {"d": {"name": "a.example", "directoryId": "x"}}},
        "Enterprise only",
    ),
    "Enterprise object": ({"@type": "create", "object": "MaskedEmail", "value": {"m": {}}}, "Enterprise only"),
    "missing property": (
        {"@type": "create", "object": "MailingList", "value": {"m": {"name": "abuse"}}},
        "domainId: is required",
    ),
    "missing nested property": (
        {"@type": "create", "object": "Certificate", "value": {"c": {"certificate": {"@type": "File"}}}},
        "filePath: is required",
    ),
    "first variant by default": ({"@type": "create", "object": "Certificate", "value": {"c": {}}}, "is required"),
    "matchOn outside the body": (listener() | {"matchOn": ["port"]}, "matchOn names it"),
    "outside the scope": (listener() | {"scope": {"protocol": "http"}}, "outside the scope"),
    "empty upsert": (listener() | {"value": {}}, "not empty"),
    "empty text": (listener(name=""), "not empty"),
    "list instead of set": (listener(bind=["[::]:25"]), "must be an object"),
    "empty set": (listener(bind={}), "at least 1"),
    "bad socket address": (listener(bind={"[::]:smtp": True}), "format socketAddress"),
    "bad set member": (listener(bind={"[::]:25": False}), "set members are true"),
    "bad enum": (listener(protocol="smtps"), "is not in"),
    "text instead of number": (update("Security", authBanPeriod="1d"), "whole number"),
    "zero duration": (update("Security", authBanPeriod=0), "outside"),
    "number out of range": (update("SystemSettings", mailExchangers={"0": {"priority": 0}}), "outside"),
    "text instead of boolean": (update("Http", enableHsts="no"), "true or false"),
    "null": (update("Http", enableHsts=None), "null"),
    "unknown event": (
        {"@type": "create", "object": "EventTracingLevel", "value": {"e": {"event": "auth.nope"}}},
        "is not in EventType",
    ),
    "unknown variant": (update("Metrics", prometheus={"@type": "On"}), "is not one of"),
    "forbidden @type": (update("SystemSettings", mailExchangers={"0": {"@type": "Mx"}}), "takes no @type"),
    "bad list key": (update("SystemSettings", mailExchangers={"first": {}}), "list keys"),
    "reference to nothing": (update("SystemSettings", defaultDomainId="#nope"), "not made by an earlier line"),
    "reference to another type": (update("Authentication", directoryId="#d"), "wanted x:Directory"),
    "bad address": (
        {"@type": "create", "object": "MailingList",
         "value": {"m": {"name": "abuse", "domainId": "#d", "recipients": {"max": True}}}},
        "format emailAddress",
    ),
    "bad network": (
        {"@type": "create", "object": "AllowedIp", "value": {"a": {"address": "10.0.0.0/99"}}},
        "format ipNetwork",
    ),
    "id used twice": (DOMAIN, "the id is taken"),
}  # fmt: skip


@pytest.mark.parametrize(("operation", "finding"), BROKEN.values(), ids=BROKEN)
def test_a_broken_operation_is_found(operation: dict[str, Any], finding: str) -> None:
    found = check_plan(f"{json.dumps(DOMAIN)}\n{json.dumps(operation)}\n")
    assert any(line.startswith("line 2: ") and finding in line for line in found), found


def test_what_is_no_json_is_found() -> None:
    assert check_plan("[\n")[0].startswith("line 1: not JSON")


def test_a_sound_operation_is_not_found() -> None:
    assert check_plan(f"{json.dumps(DOMAIN)}\n\n{json.dumps(listener())}\n") == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"@type": "Postgres"}, "is not one of"),
        ({"host": None}, "null"),
        ({"port": 0}, "outside"),
        ({"authSecret": "x"}, "must be an object"),
        ({"authSecret": {"@type": "File"}}, "filePath: is required"),
        ({"readReplicas": {}}, "Enterprise only"),
    ],
)
def test_a_broken_config_is_found(changes: dict[str, Any], finding: str) -> None:
    config = json.loads(rendered()["stalwart/config.json"]) | changes
    assert any(finding in line for line in check_config(json.dumps(config)))
