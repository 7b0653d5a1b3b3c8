"""A rule that never complains is worth nothing: each one is shown a project with its mistake in it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from kmuctl.operations.render import File
from tests.rendered import lint
from tests.rendered.sites import Project, project, secret_value

Edit: TypeAlias = Callable[[Project], None]


def setting(container: str, **changes: Any) -> Edit:
    return lambda broken: broken.containers[container].update(changes)


def lacking(container: str, key: str) -> Edit:
    return lambda broken: broken.containers[container].pop(key) and None


def text(path: str, old: str, new: str) -> Edit:
    def edit(broken: Project) -> None:
        file = broken.files[path]
        assert old in file.content.decode()
        broken.files[path] = replace(file, content=file.content.decode().replace(old, new, 1).encode())

    return edit


def file(path: str, **changes: Any) -> Edit:
    def edit(broken: Project) -> None:
        broken.files[path] = replace(broken.files[path], **changes)

    return edit


def extra_file(path: str, service: str = "element") -> Edit:
    def edit(broken: Project) -> None:
        broken.files[path] = File(b"x\n", service, 0o600, 101)

    return edit


def network(name: str, **changes: Any) -> Edit:
    return lambda broken: broken.compose["networks"][name].update(changes)


ALIAS = {"jitsi": {"aliases": ["jitsi-web"]}}
HARMLESS_CHECK = {
    "test": ["CMD", "caddy", "version"],
    "interval": "1s",
    "timeout": "1s",
    "retries": 1,
    "start_period": "90s",
}
SOUND_CHECK = HARMLESS_CHECK | {"test": ["CMD", "curl", "http://127.0.0.1/"]}
BROKEN: list[tuple[lint.Rule, Edit]] = [
    (lint.ports_are_as_declared, setting("caddy", ports=["0.0.0.0:80:80/tcp"])),
    (lint.ports_are_as_declared, setting("coturn", ports=["3478:3478/tcp"])),
    (lint.ports_are_as_declared, setting("synapse", ports=["8008:8008/tcp"])),
    (lint.only_the_front_publishes, setting("postgres", ports=["5432:5432"])),
    (lint.only_the_front_publishes, setting("coturn", network_mode="host")),
    (lint.mounts_are_state_or_rendered, setting("element", volumes=["/etc:/host"])),
    (lint.mounts_are_state_or_rendered, setting("element", volumes=["./element/other.json:/app/config.json:ro"])),
    (lint.mounts_are_state_or_rendered, setting("element", volumes=["./element/config.json:/app/config.json"])),
    (lint.mounts_are_state_or_rendered, setting("element", volumes=["../data/synapse/media:/media"])),
    (lint.state_is_used, lacking("postgres", "volumes")),
    (lint.one_container_sees_the_engine, setting("dozzle", volumes=[f"{lint.SOCKET}:{lint.SOCKET}:ro"])),
    (lint.one_container_sees_the_engine, setting("dozzle-proxy", volumes=[f"{lint.SOCKET}:{lint.SOCKET}"])),
    (lint.one_container_sees_the_engine, setting("panel", networks=["panel", "people", "engine"])),
    (lint.mounted_files_are_readable, file("synapse/pgpass", uid=0)),
    (lint.mounted_files_are_readable, file("jitsi/jvb.env", uid=1000)),
    (lint.upstreams_are_beside_caddy, text("caddy/Caddyfile", "synapse:8008", "postgres:5432")),
    (lint.upstreams_are_beside_caddy, text("caddy/Caddyfile", "panel:8000", "usersync:8001")),
    (lint.names_in_headers_come_from_caddy, setting("dozzle", networks=["proxy", "engine"])),
    (lint.names_in_headers_come_from_caddy, setting("panel", networks=["panel", "directory"])),
    (lint.names_in_headers_come_from_caddy, setting("element", networks=["proxy", "logs"])),
    (lint.every_route_is_served, text("caddy/Caddyfile", "\ncloud.acme.example {", "\nfiles.acme.example {")),
    (lint.networks_are_declared_and_closed, setting("element", networks=["proxy", "other"])),
    (lint.networks_are_declared_and_closed, lacking("element", "networks")),
    (lint.networks_are_declared_and_closed, network("database", internal=False)),
    (lint.networks_are_declared_and_closed, network("mail", ipam={"config": [{"subnet": "10.231.112.0/24"}]})),
    (lint.only_database_services_reach_the_database, setting("element", networks=["proxy", "database"])),
    (lint.only_database_services_reach_the_database, setting("synapse", networks=["proxy"])),
    (lint.names_are_unique_on_each_network, setting("jitsi-prosody", networks=ALIAS)),
    (lint.public_names_lead_to_one_door, setting("caddy", networks={"proxy": {"aliases": ["auth.acme.example"]}})),
    (lint.starts_in_an_order, setting("postgres", depends_on={"synapse": {"condition": "service_healthy"}})),
    (lint.starts_in_an_order, setting("caddy", depends_on={"nginx": {"condition": "service_healthy"}})),
    (lint.starts_in_an_order, setting("element", depends_on={"synapse": {"condition": "service_started"}})),
    (lint.images_are_pinned, setting("caddy", image="caddy")),
    (lint.images_are_pinned, setting("caddy", image="caddy:latest")),
    (lint.images_are_pinned, setting("jitsi-web", image="ghcr.io/jitsi/web:stable")),
    (lint.images_are_pinned, setting("caddy", image="mirror.acme.example:5000/caddy")),
    (lint.containers_are_confined, setting("element", security_opt=[])),
    (lint.containers_are_confined, setting("element", cap_drop=[])),
    (lint.containers_are_confined, setting("element", logging={"driver": "json-file", "options": {}})),
    (lint.containers_are_confined, setting("element", restart="no")),
    (lint.containers_are_confined, lacking("element", "mem_limit")),
    (lint.containers_are_confined, setting("element", privileged=True)),
    (lint.containers_are_confined, setting("element", cap_add=["KILL"])),
    (lint.containers_are_confined, setting("element", read_only=False)),
    (lint.containers_are_confined, lacking("element", "read_only")),
    (lint.containers_are_confined, setting("element", user="0:0")),
    (lint.containers_are_confined, lacking("element", "user")),
    (lint.users_are_as_declared, setting("synapse", user="1000:1000")),
    (lint.users_are_as_declared, setting("synapse", user="0:0")),
    (lint.health_is_checked, lacking("caddy", "healthcheck")),
    (lint.health_is_checked, setting("caddy", healthcheck=HARMLESS_CHECK)),
    (lint.health_is_checked, setting("caddy", healthcheck=SOUND_CHECK | {"start_period": "5s"})),
    (lint.health_is_checked, setting("caddy", healthcheck=HARMLESS_CHECK | {"test": ["CMD", "true"]})),
    (lint.health_is_checked, setting("caddy", healthcheck=HARMLESS_CHECK | {"test": ["CMD", "ak", "healthcheck"]})),
    (lint.health_is_checked, setting("postgres", healthcheck=HARMLESS_CHECK | {"test": ["CMD", "psql", "SELECT 1"]})),
    (lint.health_is_checked, setting("caddy", healthcheck={"test": ["CMD-SHELL", "curl http://127.0.0.1/healthz"]})),
    (lint.the_host_is_big_enough, setting("caddy", mem_limit="4096m")),
    (lint.secrets_stay_where_they_belong, file("coturn/turnserver.conf", mode=0o644)),
    (lint.secrets_stay_where_they_belong, text("compose.yaml", "caddy", secret_value("turn_secret"))),
    (lint.secrets_stay_where_they_belong, text("synapse/pgpass", "postgres", secret_value("postgres_password"))),
    (lint.secret_files_are_granted_exactly, extra_file("secrets/element/turn_secret")),
    (lint.secret_files_are_granted_exactly, file("secrets/synapse/turn_secret", mode=0o644)),
    (lint.secret_files_are_granted_exactly, file("secrets/synapse/turn_secret", uid=0)),
    (lint.secret_files_are_granted_exactly, lacking("synapse", "secrets")),
    (lint.secret_paths_lead_to_secrets, text("synapse/homeserver.yaml", "secrets/turn_secret", "secrets/turn_secrets")),
    (lint.secret_paths_lead_to_secrets, setting("nextcloud-cron", secrets=[])),
    (lint.grants_are_used, setting("element", secrets=[{"source": "element-turn_secret", "target": "turn_secret"}])),
    (lint.no_variable_is_left_to_compose, text("compose.yaml", "$$(", "$(")),
    (lint.no_variable_is_left_to_compose, text("compose.yaml", "image: caddy", "image: ${CADDY}")),
    (lint.environment_files_need_no_quotes, text("jitsi/jvb.env", "JVB_PORT=", "JVB_PORT=$")),
    (lint.environment_files_need_no_quotes, text("authentik/bootstrap.env", "=akadmin@", "=akadmin @")),
    (
        lint.nothing_unfinished_is_left,
        text("element/config.json", "https://matrix.acme.example", "http://localhost:8008"),
    ),
    (lint.nothing_unfinished_is_left, text("element/config.json", "ACME GmbH", "<your company>")),
    (lint.nothing_unfinished_is_left, text("element/config.json", "ACME GmbH", "{{ site.name }}")),
    (lint.nothing_unfinished_is_left, text("panel/panel.json", "acme.example", "example.com")),
    (lint.text_files_end_with_a_newline, text("synapse/log.config", "false\n", "false")),
]


@pytest.mark.parametrize(("rule", "edit"), BROKEN, ids=[rule.__name__ for rule, _ in BROKEN])
def test_the_rule_notices(rule: lint.Rule, edit: Edit) -> None:
    broken = Project(project().stack, dict(project().files))
    vars(broken)["compose"] = deepcopy(project().compose)
    edit(broken)
    assert list(rule(broken))


def test_no_rule_goes_unproven() -> None:
    assert {rule for rule, _ in BROKEN} == set(lint.RULES)
