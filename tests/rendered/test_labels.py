"""A container is recreated when its own definition or its own files change, and never otherwise (K56, K90)."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from kmuctl.model.secrets import Secret
from kmuctl.operations.compose import DEFINITION, FILES
from kmuctl.operations.render import render
from tests.rendered.sites import Project, Recognisable, project, project_of

SYNAPSE, NEXTCLOUD = {"synapse"}, {"nextcloud"}
JITSI = {"jitsi-web", "jitsi-prosody", "jitsi-jicofo", "jitsi-jvb"}
CHANGES: dict[str, dict[str, Any]] = {
    "name": {"name": "Another Ltd"},
    "language": {"language": "en"},
    "time zone": {"timezone": "Europe/London"},
    "colour": {"branding": {"color": "#112233"}},
    "address": {"host": {"ipv4": "203.0.113.8"}},
    "subnet": {"network": {"subnet": "10.99.0.0/20"}},
    "domain": {"domain": "other.example"},
    "extra site": {"sites": {"wiki": {"upstream": "wiki:80"}}},
    "TLS": {"tls": {"mode": "internal"}},
    "image": {"images": {"element": "ghcr.io/element-hq/element-web:v1.12.27"}},
    "no mail": {"apps": {"stalwart": False}},
    "no relay of calls": {"apps": {"coturn": False}},
    "no sync": {"apps": {"usersync": False}},
}


@cache
def changed(change: str) -> Project:
    return project_of(**CHANGES[change])


def definition(present: Project, container: str) -> str:
    """All that makes the container in the eyes of Compose and the engine, without kmuctl's own labels."""
    own = {key: value for key, value in present.containers[container].items() if key != "labels"}
    networks = {name: present.compose["networks"][name] for name in own["networks"]}
    return json.dumps([own, networks], sort_keys=True)


def own_files(present: Project, container: str) -> dict[str, bytes]:
    """What it reads once, at its start: mounts, environment files and secrets, without the live files."""
    found = [path for source, _, _ in present.mounts(container) if source[0] == "." for path in present.below(source)]
    found += present.containers[container].get("env_file", [])
    found += [f"secrets/{container}/{name}" for name in present.secrets(container)]
    live = present.owner(container).live
    kept = [path for path in found if not any(path.startswith(name) for name in live)]
    return {path: present.files[path].content for path in kept}


def labels(present: Project, container: str) -> dict[str, str]:
    found: dict[str, str] = present.containers[container]["labels"]
    return found


def recreated(before: Project, after: Project) -> set[str]:
    both = before.containers.keys() & after.containers.keys()
    return {name for name in both if labels(before, name) != labels(after, name)}


@pytest.mark.parametrize("change", CHANGES)
def test_a_label_changes_exactly_with_what_it_stands_for(change: str) -> None:
    before, after = project(), changed(change)
    for name in before.containers.keys() & after.containers.keys():
        same = (
            labels(before, name)[DEFINITION] == labels(after, name)[DEFINITION],
            definition(before, name) == definition(after, name),
        )
        assert same[0] == same[1], f"{name}: definition"
        same = (
            labels(before, name)[FILES] == labels(after, name)[FILES],
            own_files(before, name) == own_files(after, name),
        )
        assert same[0] == same[1], f"{name}: files"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("name", {"element", "nextcloud", "synapse", "panel"}),
        ("colour", {"panel"}),
        ("image", {"element"}),
        ("TLS", {"synapse", "nextcloud", "nextcloud-cron", "authentik-server", "authentik-worker"}),
        ("address", {"coturn", "jitsi-jvb"}),
        ("no sync", {"stalwart"}),
        ("no relay of calls", {"synapse", "jitsi-web", "jitsi-prosody", "jitsi-jvb", "caddy"}),
    ],
)
def test_a_change_reaches_only_those_it_concerns(change: str, expected: set[str]) -> None:
    assert recreated(project(), changed(change)) == expected


def test_what_stays_alive_is_not_recreated() -> None:
    """Caddy reloads its Caddyfile, the start page and Authentik read theirs anew."""
    for change in ("name", "colour", "language", "extra site"):
        touched = recreated(project(), changed(change)) - {"caddy"}
        assert not touched & {"postgres", "homepage", "authentik-server", "authentik-worker", "stalwart"}, change
    assert "caddy" not in recreated(project(), changed("TLS"))


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("turn_secret", {"synapse", "coturn", "jitsi-prosody"}),
        ("synapse_db_password", {"synapse"}),
        ("synapse_oidc_secret", {"synapse", "authentik-worker"}),
        ("jitsi_jwt_secret", {"jitsi-prosody"}),
        ("nextcloud_valkey_password", {"nextcloud", "nextcloud-cron", "nextcloud-valkey"}),
        ("authentik_ldap_bind_password", {"authentik-worker", "stalwart"}),
    ],
)
def test_a_new_secret_recreates_its_readers_alone(secret: str, expected: set[str]) -> None:
    class Rotated(Recognisable):
        def __getitem__(self, name: str) -> Secret:
            return Secret("fresh") if name == secret else super().__getitem__(name)

    after = Project(project().stack, render(project().stack, Rotated()).files)
    assert recreated(project(), after) == expected


def test_the_same_input_gives_the_same_bytes() -> None:
    again = project_of()
    assert again.files == project().files
    assert list(again.files) == sorted(again.files)
    assert replace(project(), files=again.files).text("compose.yaml") == project().text("compose.yaml")
