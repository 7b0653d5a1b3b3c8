"""An app that is switched off leaves no trace in any file (U30, U48, U49), and the rest stays as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.rendered.sites import OPTIONAL, Project, project, switched_off


def traces(core: Project, present: Project) -> Iterator[tuple[str, str]]:
    """Every word of the missing services that still stands somewhere, with the file."""
    missing = [service for service in core.stack.services if service.name not in present.stack]
    words = {
        *(core.stack.site.fqdn(route.host) for service in missing for route in service.routes),
        *(container.name for service in missing for container in service.containers),
        *(f"data/{service.name}" for service in missing),
    }
    known = {spec.name for spec in present.stack.secrets()}
    words |= {spec.name for spec in core.stack.secrets() if spec.name not in known}
    pattern = re.compile(r"(?<![\w.-])(?<![^/]/)(?:" + "|".join(map(re.escape, sorted(words))) + r")(?![\w-])")
    for path, file in present.files.items():
        if file.service in {service.name for service in missing}:
            yield path, "a file of its own"
        yield from ((path, found) for found in sorted(set(pattern.findall(_wanted(path, file.content.decode())))))


def _wanted(path: str, text: str) -> str:
    """Blueprints and mail's plan without their orders to remove: those must name what shall go."""
    if path == "stalwart/plan.ndjson":
        return "\n".join(line for line in text.splitlines() if json.loads(line)["value"])
    if not path.startswith("blueprints/"):
        return text
    head, *entries = re.split(r"(?m)^(?=  - model:)", text)
    return head + "".join(entry for entry in entries if "\n    state: absent\n" not in entry)


@pytest.mark.parametrize("app", OPTIONAL)
def test_it_leaves_no_trace(app: str) -> None:
    assert list(traces(project(), project(f"without {app}"))) == []


def test_a_trace_would_be_found() -> None:
    everything = Project(project("essentials only").stack, project().files)
    found = {path for path, _ in traces(project(), everything)}
    assert {"caddy/Caddyfile", "compose.yaml", "blueprints/20-logins.yaml", "homepage/site/index.html"} <= found


@pytest.mark.parametrize("app", OPTIONAL)
def test_ports_and_networks_go_with_it(app: str) -> None:
    gone = switched_off(app)
    left = project(f"without {app}")
    services = [service for service in project().stack.services if service.name not in gone]
    assert set(left.compose["networks"]) <= {network.name for service in services for network in service.networks}
    published = [port for definition in left.containers.values() for port in definition.get("ports", ())]
    assert sorted(published) == sorted(port.mapping for service in services for port in service.ports)


@pytest.mark.parametrize("app", OPTIONAL)
def test_nobody_joins_a_network_alone(app: str) -> None:
    """An internal network with one member is a remnant of the app that is gone."""
    left = project(f"without {app}")
    internal = [name for name, network in left.compose["networks"].items() if network.get("internal")]
    assert [name for name in internal if len(left.members(name)) < 2] == []


def test_only_the_essentials_remain() -> None:
    assert {path.split("/")[0] for path in project("essentials only").files} == {
        "authentik", "blueprints", "caddy", "compose.yaml", "homepage", "secrets",
    }  # fmt: skip
