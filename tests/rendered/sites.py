"""The sites over whose rendered result the tests look, and the parsed result itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from kmuctl.model.secrets import Secret
from kmuctl.model.service import Container, Service
from kmuctl.model.stack import Stack
from kmuctl.operations.render import File, render
from kmuctl.services import CATALOG
from tests.support import AWKWARD_NAME, stack

IDN, IDN_ASCII = "müller-kmu.de", "xn--mller-kmu-q9a.de"
SMALL: dict[str, Any] = {
    "domain": IDN,
    "name": AWKWARD_NAME,
    "tls": {"mode": "internal"},
    "apps": dict.fromkeys(("jitsi", "coturn", "stalwart"), False),
}
OPTIONAL = tuple(service.name for service in CATALOG if not service.essential)
EXTRA_SITES: dict[str, dict[str, Any]] = {
    "wiki": {"upstream": "wiki:8080"},
    "shop": {"upstream": "shop:80", "login": False},
}


def switched_off(app: str) -> frozenset[str]:
    """The app and all that need it."""
    gone = {app}
    while more := {service.name for service in CATALOG if gone & set(service.needs)} - gone:
        gone |= more
    return frozenset(gone)


def without(app: str) -> dict[str, Any]:
    return {"apps": dict.fromkeys(switched_off(app), False)}


SITES: dict[str, dict[str, Any]] = {
    "core": {},
    "small": SMALL,
    "own CA": {"tls": {"mode": "internal"}},
    "own certificate": {"tls": {"mode": "files", "certificate": "/etc/ssl/acme.crt", "key": "/etc/ssl/acme.key"}},
    "no TLS": {"tls": {"mode": "off"}},
    "extra sites": {"sites": EXTRA_SITES},
    "behind a proxy": {"network": {"trusted_proxies": ["192.0.2.10", "2001:db8::/64"], "subnet": "10.99.0.0/20"}},
    "own images": {
        "images": {
            "caddy": "mirror.acme.example:5000/caddy:2.11.7",
            **dict.fromkeys(("nextcloud", "nextcloud-cron"), "nextcloud:34.0.5-apache"),
        }
    },
    "relay": {"mail": {"relay": {"host": "smtp.provider.example", "username": "acme"}}},
    "relay alone": {"mail": {"relay": {"host": "smtp.provider.example", "username": "acme"}}, **without("stalwart")},
    "no public address": {"host": {}},
    "short memory": {"chat": {"retention": "365d"}},
    "English": {"language": "en", "timezone": "Europe/London"},
    "a language of no translation": {"language": "cs"},
    "awkward names": {
        "name": AWKWARD_NAME,
        "admin": {"username": "mm", "name": AWKWARD_NAME, "email": "m@acme.example"},
    },
    "umlaut domain": {"domain": IDN},
    "essentials only": {"apps": dict.fromkeys(OPTIONAL, False)},
    **{f"without {app}": without(app) for app in OPTIONAL},
}

CONTAINERS = tuple(container.name for service in CATALOG for container in service.containers)


def having(*services: str) -> list[str]:
    """The sites in which all these services are enabled."""
    return [site for site, changes in SITES.items() if all(name in stack(**changes) for name in services)]


def known(name: str) -> set[str]:
    """A list of `known/`: what the program of that name reads, or must have (from upstream's documentation)."""
    return set((Path(__file__).parent / "known" / f"{name}.txt").read_text().split())


def secret_value(name: str) -> str:
    return f"Sesame-{name}-Open"


class Recognisable(Mapping[str, Secret]):
    """Values that a test can find again in every file."""

    def __getitem__(self, name: str) -> Secret:
        return Secret(secret_value(name))

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class Project:
    """One site's rendered tree, with `compose.yaml` read back as Compose will read it."""

    stack: Stack
    files: dict[str, File]

    def text(self, path: str) -> str:
        return self.files[path].content.decode()

    @cached_property
    def compose(self) -> dict[str, Any]:
        loaded: dict[str, Any] = YAML(typ="safe").load(self.text("compose.yaml"))
        return loaded

    @cached_property
    def containers(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.compose["services"]
        return found

    def members(self, network: str) -> set[str]:
        return {name for name, definition in self.containers.items() if network in definition["networks"]}

    def neighbours(self, container: str) -> set[str]:
        """Whoever shares a network with it."""
        networks = self.containers[container].get("networks", ())
        return set().union(*(self.members(network) for network in networks)) - {container}

    def owner(self, container: str) -> Service:
        return next(service for service in self.stack.services if any(c.name == container for c in service.containers))

    def declared(self, container: str) -> Container:
        return self.owner(container).container(container)

    def mounts(self, container: str) -> list[tuple[str, str, str]]:
        """Source, target, mode of each volume."""
        volumes = (str(volume) for volume in self.containers[container].get("volumes", ()))
        return [(source, target, mode or "rw") for source, target, mode in map(_volume, volumes)]

    def below(self, source: str) -> list[str]:
        """The rendered files that a mount of `./source` brings along."""
        path = source.removeprefix("./")
        return [name for name in self.files if name == path or name.startswith(path + "/")]

    def secrets(self, container: str) -> set[str]:
        return {str(entry["target"]) for entry in self.containers[container].get("secrets", ())}

    def env_file(self, path: str) -> dict[str, str]:
        return dict(re.findall(r"^(\w+)=(.*)$", self.text(path), re.MULTILINE))


def _volume(text: str) -> tuple[str, str, str]:
    source, target, *mode = text.split(":")
    return source, target, mode[0] if mode else ""


def project_of(**changes: Any) -> Project:
    rendered_stack = stack(**changes)
    return Project(rendered_stack, render(rendered_stack, Recognisable()).files)


@cache
def project(site: str = "core") -> Project:
    """A site by its name in SITES, rendered once."""
    return project_of(**SITES[site])
