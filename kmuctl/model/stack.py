"""A Site with its Services, and every view derived from the two. What templates and operations receive."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import TopologicalSorter
from itertools import combinations

from kmuctl.model.errors import ConfigError
from kmuctl.model.service import Container, Database, Network, Oidc, Port, Proxy, Record, SecretSpec, Service
from kmuctl.model.site import Site

PROJECT = "kmu"
RELAY_PASSWORD = "mail_relay_password"  # noqa: S105 (its name)


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """A Route of one service, with its full name: what Caddy serves."""

    service: Service
    fqdn: str
    host: str
    to: str
    port: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Who takes the mail that the services themselves send: notices, invitations, the way back to a password."""

    host: str
    port: int
    username: str
    secret: str
    sender: str

    @property
    def implicit_tls(self) -> bool:
        """TLS from the first byte; at every other port it comes by STARTTLS."""
        return self.port == 465


@dataclass(frozen=True)
class Stack:
    site: Site
    services: tuple[Service, ...]
    """The enabled ones, in catalog order."""
    switched_off: tuple[Service, ...] = ()
    """The others that the catalog knows: what they left behind elsewhere must go."""

    @property
    def project(self) -> str:
        return PROJECT

    @property
    def folder(self) -> str:
        """Everything on the host lies below it."""
        return self.site.host.folder

    @property
    def rendered(self) -> str:
        """The folder of the Compose project on the host."""
        return f"{self.folder}/rendered"

    def data(self, service: str, name: str) -> str:
        """One state folder on the host."""
        return f"{self.folder}/data/{service}/{name}"

    def __contains__(self, name: object) -> bool:
        return any(service.name == name for service in self.services)

    def __getitem__(self, name: str) -> Service:
        return next(service for service in self.services if service.name == name)

    def get(self, name: str) -> Service | None:
        return next((service for service in self.services if service.name == name), None)

    def in_order(self) -> tuple[Service, ...]:
        """Services after those they need; catalog order where the needs leave a choice."""
        graph = {service.name: [name for name in service.needs if name in self] for service in self.services}
        return tuple(self[name] for name in TopologicalSorter(graph).static_order())

    def containers(self) -> tuple[Container, ...]:
        return tuple(container for service in self.services for container in service.containers)

    def routes(self) -> tuple[PublicRoute, ...]:
        return tuple(
            PublicRoute(service, self.site.fqdn(route.host), route.host, route.to, route.port)
            for service in self.services
            for route in service.routes
        )

    def hosts(self) -> tuple[str, ...]:
        """Every public name, extra sites included."""
        extra = (self.site.fqdn(host) for host in self.site.sites)
        return tuple(dict.fromkeys((*(route.fqdn for route in self.routes()), *extra)))

    def ports(self) -> tuple[Port, ...]:
        return tuple(port for service in self.services for port in service.ports)

    def records(self) -> tuple[Record, ...]:
        """DNS records to set, addresses first. Without a known address the value says so."""
        names = [name.removesuffix(self.site.domain).rstrip(".") or "@" for name in self.hosts()]
        addresses = [Record(name, "A", self.site.host.ipv4 or "<the server's IPv4 address>") for name in names]
        return (*addresses, *(record for service in self.services for record in service.records(self.site)))

    def databases(self) -> tuple[Database, ...]:
        return tuple(database for service in self.services for database in service.databases)

    def networks(self) -> tuple[Network, ...]:
        return tuple(network for service in self.services for network in service.networks)

    @cached_property
    def _ranges(self) -> tuple[ipaddress.IPv4Network, ...]:
        return tuple(ipaddress.IPv4Network(self.site.network.subnet).subnets(new_prefix=24))

    def subnet(self, network: str) -> str:
        """The /24 of one network, as `10.231.112.0/24`."""
        return str(next(self._ranges[known.number] for known in self.networks() if known.name == network))

    def subnets(self) -> tuple[str, ...]:
        return tuple(self.subnet(network.name) for network in self.networks())

    def address(self, network: str, host: int) -> str:
        """A fixed address in one network, for the few containers that must announce theirs."""
        return str(ipaddress.IPv4Network(self.subnet(network))[host])

    def apps(self) -> list[dict[str, str | bool]]:
        """What people open: title, description in the site's language, address, and whether it is for admins."""
        return [
            {
                "name": service.name,
                "title": service.title,
                "text": service.launcher.get(self.site.language, service.launcher["en"]),
                "url": self.site.url(service.routes[0].host) + "/",
                "admins": service.admins_only,
            }
            for service in self.services
            if service.launcher
        ]

    def logins(self) -> tuple[Service, ...]:
        return tuple(service for service in self.services if service.login)

    def protected(self) -> tuple[Service, ...]:
        return tuple(service for service in self.services if isinstance(service.login, Proxy))

    def secrets(self) -> tuple[SecretSpec, ...]:
        """Every secret that this site needs, those of the sign-on's clients and of the relay included."""
        own = [spec for service in self.services for spec in service.secrets]
        relay = [SecretSpec(name=RELAY_PASSWORD, make=None)] if self.site.mail.relay else []
        return (*own, *(SecretSpec(name=name) for name in self.client_secrets()), *relay)

    def readable(self, service: Service) -> frozenset[str]:
        """The names of the secrets that one service's files may hold."""
        own = {spec.name for spec in service.secrets}
        client = {f"{service.name}_oidc_secret"} if isinstance(service.login, Oidc) else set()
        everyone = set(self.client_secrets()) if service.name == "authentik" else set()
        sending = {self.outgoing.secret} if self.outgoing and service.sends_mail else set()
        known = {spec.name for spec in self.secrets()}
        return frozenset((own | client | everyone | sending | set(service.uses)) & known)

    def client_secrets(self) -> list[str]:
        """Those of the sign-on's OpenID clients."""
        return [f"{service.name}_oidc_secret" for service in self.services if isinstance(service.login, Oidc)]

    @property
    def outgoing(self) -> Outgoing | None:
        """The own mail server; without it the relay itself, and without that nobody sends."""
        relay, sender = self.site.mail.relay, f"noreply@{self.site.domain}"
        if "stalwart" in self:
            return Outgoing(self.site.fqdn("mail"), 465, sender, "authentik_noreply_password", sender)
        return Outgoing(relay.host, relay.port, relay.username, RELAY_PASSWORD, sender) if relay else None

    def memory(self) -> int:
        """The sum of all memory limits, in MiB."""
        return sum(container.memory for container in self.containers())


def build(site: Site, catalog: tuple[Service, ...]) -> Stack:
    """The stack of a site: enabled services, with the ports and pinned images that the site wants.

    Raises ConfigError when an enabled service needs one that is switched off, or when containers of one program
    would get different images.
    """
    enabled = {service.name: service for service in catalog if service.essential or site.enabled(service.name)}
    for service in enabled.values():
        if lacking := [need for need in service.needs if need not in enabled]:
            raise ConfigError(
                f"apps.{service.name}: needs `{lacking[0]}`, which is switched off",
                hint=f"set `{lacking[0]} = true` or `{service.name} = false` under [apps]",
            )
        _refuse_mixed(service, [enabled[need] for need in service.needs], site.images)
    return Stack(
        site,
        services=tuple(_fitted(service, site) for service in enabled.values()),
        switched_off=tuple(service for service in catalog if service.name not in enabled),
    )


def _refuse_mixed(service: Service, needed: list[Service], images: dict[str, str]) -> None:
    """Containers of one image share data or a protocol: two versions of it at once would spoil both."""
    containers = [container for owner in (service, *needed) for container in owner.containers]
    for one, other in combinations(containers, 2):
        if one.image == other.image and _image(one, images) != _image(other, images):
            raise ConfigError(
                f"images.{one.name} and images.{other.name}: are one program, and must be the same image",
                hint=f"give `{one.name}` and `{other.name}` the same value under [images]",
            )


def _image(container: Container, images: dict[str, str]) -> str:
    return images.get(container.name, container.image)


def _fitted(service: Service, site: Site) -> Service:
    containers = tuple(replace(container, image=_image(container, site.images)) for container in service.containers)
    return replace(service, containers=containers, ports=tuple(port for port in service.ports if port.when(site)))
