"""One product of the stack, described once; routes, records, ports, databases and the rest are derived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from kmuctl.model.secrets import password
from kmuctl.model.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container. `name` is its Compose service and its DNS name on every network it joins."""

    name: str
    image: str
    uid: int
    """Owner of the secret files that this container reads."""
    memory: int
    """Hard limit in MiB."""
    deadline: int = 90
    """Seconds from start to healthy on a small VPS, generously; also its health check's start period."""


@dataclass(frozen=True, slots=True)
class Route:
    """A public host name; `host` is the label below the site's domain, "" the domain itself."""

    host: str
    to: str
    port: int


def always(site: Site) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Port:
    """A port (or range) published on the host, the same number in the container."""

    number: int
    protocol: Literal["tcp", "udp"]
    purpose: str
    last: int = 0
    when: Callable[[Site], bool] = always

    @property
    def span(self) -> str:
        return f"{self.number}-{self.last}" if self.last else f"{self.number}"

    @property
    def mapping(self) -> str:
        """As a Compose file publishes it: on IPv4 alone, which is all that the networks behind it speak."""
        return f"0.0.0.0:{self.span}:{self.span}/{self.protocol}"

    def __str__(self) -> str:
        return f"{self.span}/{self.protocol}"

    def numbers(self) -> range:
        return range(self.number, (self.last or self.number) + 1)


@dataclass(frozen=True, slots=True)
class Record:
    """A DNS record; `name` is relative to the domain ("@" is the domain)."""

    name: str
    type: str
    value: str

    @property
    def complete(self) -> bool:
        """Nothing in it is left to the admin, as `<this>` would be."""
        return "<" not in self.value


def no_records(site: Site) -> tuple[Record, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL database with a role of the same name; the password is the secret `<name>_db_password`."""

    name: str
    collation: str = ""
    """"" is the cluster's own; Synapse insists on "C"."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network that the service brings along; `number` picks its /24 of the site's subnet for good."""

    name: str
    number: int
    internal: bool = True


@dataclass(frozen=True, slots=True)
class Data:
    """A folder of state, `data/<service>/<name>` on the host."""

    name: str
    uid: int
    mode: int = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """A secret that the service owns: how it is made, and whether existing data depends on its value."""

    name: str
    make: Callable[[], str] | None = password
    """None: only the admin can know it, so it must stand in the secrets file."""
    sealed: bool = False
    """A new value would lock out or orphan existing data: never make a second one beside such data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """The service signs people in itself, as an OpenID client; the secret is `<service>_oidc_secret`."""

    redirects: tuple[str, ...]
    """Paths on the login host."""
    logout: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    sub_mode: str = "hashed_user_id"
    kind: Literal["oidc"] = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Caddy asks Authentik before it passes a request on."""

    public: tuple[str, ...] = ()
    """Paths that need no login, in Caddy's path syntax: `*` stands for anything but `/`, at the end for all."""
    only: tuple[str, ...] = ()
    """Paths that need one, when all others do not."""
    kind: Literal["proxy"] = "proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    name: str
    title: str
    """What people call it, on the start page and in messages."""
    containers: tuple[Container, ...]
    essential: bool = False
    """The stack makes no sense without it: it cannot be switched off."""
    needs: tuple[str, ...] = ()
    """Services that must be healthy before this one starts."""
    uses: tuple[str, ...] = ()
    """Secrets of other services that this one reads too."""
    sends_mail: bool = False
    """It reads the password that `Stack.outgoing` names."""
    routes: tuple[Route, ...] = ()
    ports: tuple[Port, ...] = ()
    records: Callable[[Site], tuple[Record, ...]] = no_records
    """DNS records besides the addresses of the routes."""
    databases: tuple[Database, ...] = ()
    networks: tuple[Network, ...] = ()
    secrets: tuple[SecretSpec, ...] = ()
    data: tuple[Data, ...] = ()
    login: Oidc | Proxy | None = None
    admins_only: bool = False
    launcher: dict[str, str] = field(default_factory=dict)
    """Text on the start page by language; empty: not an app that people open."""
    live: tuple[str, ...] = ()
    """Rendered files (or folders, with a final slash) that the running containers pick up by themselves."""

    @property
    def login_host(self) -> str:
        return self.routes[0].host

    def container(self, name: str) -> Container:
        return next(container for container in self.containers if container.name == name)

    def path(self, data: str) -> str:
        """The state folder `data`, as a fragment mounts it."""
        if data not in {folder.name for folder in self.data}:
            raise LookupError(f"{self.name} declares no data folder `{data}`")
        return f"../data/{self.name}/{data}"


def secrets(*names: str, sealed: bool = False) -> tuple[SecretSpec, ...]:
    """Ordinary generated secrets."""
    return tuple(SecretSpec(name=name, sealed=sealed) for name in names)
