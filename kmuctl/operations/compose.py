"""One Compose project from the fragments of the services: common rules added once, for every container."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any, TypeAlias

from ruamel.yaml import YAML

from kmuctl.model.secrets import Secret
from kmuctl.model.service import Container, Network, Service
from kmuctl.model.stack import Stack

FILE = "compose.yaml"
DEFINITION, FILES = "kmuctl.definition", "kmuctl.files"
Definition: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """One secret as a file of its own for one container."""

    service: Service
    container: Container
    name: str
    content: bytes

    @property
    def path(self) -> str:
        return f"secrets/{self.container.name}/{self.name}"

    @property
    def source(self) -> str:
        return f"{self.container.name}-{self.name}"


HEADER = "# Rendered by kmuctl; `docker compose up -d` in this folder works without it.\n"
COMMON: Definition = {
    "restart": "unless-stopped",
    "pull_policy": "missing",
    "security_opt": ["no-new-privileges:true"],
    "cap_drop": ["ALL"],
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
}


@dataclass(frozen=True, slots=True)
class Project:
    """The Compose project as text, the secret files its containers are granted, and each container's definition.

    `mounted` are the rendered files that each container reads when it starts.
    """

    text: str
    grants: tuple[Grant, ...]
    containers: dict[str, Definition]
    mounted: dict[str, tuple[str, ...]]


def assemble(
    stack: Stack, fragments: Mapping[str, str], files: Mapping[str, bytes], secrets: Mapping[str, Secret]
) -> Project:
    """Every container carries two labels: a digest of its definition and one of the files it mounts.

    Compose therefore recreates exactly what changed, and `kmuctl up` sees drift without asking Compose.
    """
    networks = {network.name: _network(stack, network) for network in stack.networks()}
    containers: Definition = {}
    granted: list[Grant] = []
    paths: dict[str, tuple[str, ...]] = {}
    for service in stack.services:
        for container, fragment in _containers(service, fragments[service.name]):
            grants = _grants(stack, service, container, fragment, secrets)
            definition = _complete(stack, service, container, fragment, grants)
            mounted = _mounted(service, definition, files) | {grant.path: grant.content for grant in grants}
            definition["labels"] = _labels(service, definition, networks, mounted)
            containers[container.name] = definition
            paths[container.name] = tuple(mounted)
            granted += grants
    return Project(_text(stack, containers, networks, granted), tuple(granted), containers, paths)


def _text(stack: Stack, containers: Definition, networks: Definition, granted: Iterable[Grant]) -> str:
    used = {name for definition in containers.values() for name in definition.get("networks", ())}
    project = {
        "name": stack.project,
        "services": containers,
        "networks": {name: network for name, network in networks.items() if name in used},
        "secrets": {grant.source: {"file": f"./{grant.path}"} for grant in granted},
    }
    return HEADER + _dump(_literal(project))


def _containers(service: Service, fragment: str) -> Iterator[tuple[Container, Definition]]:
    found = YAML(typ="safe").load(fragment)["services"]
    declared = sorted(container.name for container in service.containers)
    if sorted(found) != declared:
        raise LookupError(f"compose/{service.name}.yml.j2 has {sorted(found)}, the catalog {declared}")
    for container in service.containers:
        yield container, found[container.name] or {}


def _network(stack: Stack, network: Network) -> Definition:
    definition: Definition = {"ipam": {"config": [{"subnet": stack.subnet(network.name)}]}}
    return {"internal": True, **definition} if network.internal else definition


def _complete(
    stack: Stack, service: Service, container: Container, fragment: Definition, grants: Iterable[Grant]
) -> Definition:
    definition = {"image": container.image, **COMMON, "mem_limit": f"{container.memory}m", **fragment}
    first = {stack[need].containers[0].name: {"condition": "service_healthy"} for need in service.needs}
    if depends := first | definition.get("depends_on", {}):
        definition["depends_on"] = depends
    if check := definition.get("healthcheck"):
        # unhealthy then means broken, never slow: it had all its time, or was healthy before
        definition["healthcheck"] = {**check, "start_period": f"{container.deadline}s"}
    if grants:
        definition["secrets"] = [{"source": grant.source, "target": grant.name} for grant in grants]
    return definition


def _grants(
    stack: Stack, service: Service, container: Container, fragment: Definition, secrets: Mapping[str, Secret]
) -> list[Grant]:
    names: list[str] = fragment.get("secrets", [])
    if foreign := set(names) - stack.readable(service):
        raise LookupError(f"{container.name} asks for {sorted(foreign)}, which {service.name} does not declare")
    return [Grant(service, container, name, secrets[name].reveal().encode()) for name in names]


def _mounted(service: Service, definition: Definition, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The rendered files that the container sees, without those it picks up by itself."""
    volumes = [str(volume).split(":", 1)[0] for volume in definition.get("volumes", ())]
    sources = [path.removeprefix("./") for path in (*volumes, *definition.get("env_file", ()))]
    return {
        path: content
        for path, content in files.items()
        if any(path == source or path.startswith(source + "/") for source in sources)
        if not any(path == live or (live.endswith("/") and path.startswith(live)) for live in service.live)
    }


def _labels(
    service: Service, definition: Definition, networks: Definition, files: Mapping[str, bytes]
) -> dict[str, str]:
    joined = {name: networks[name] for name in definition.get("networks", ())}
    return {
        "kmuctl.service": service.name,
        DEFINITION: digest(json.dumps([definition, joined], sort_keys=True).encode()),
        FILES: digest(*(part for path in sorted(files) for part in (path.encode(), files[path]))),
        **definition.get("labels", {}),
    }


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def _literal(value: Any) -> Any:
    """The same value with every `$` doubled, so that Compose expands nothing."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {_literal(key): _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value


def _dump(project: Definition) -> str:
    yaml = YAML(typ="safe")
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares it as None only
    yaml.default_flow_style = False
    yaml.width = 4096
    stream = StringIO()
    yaml.dump(project, stream)
    return stream.getvalue()
