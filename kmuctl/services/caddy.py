"""Caddy: the one door; certificates, routes, and the question to Authentik before protected pages."""

from kmuctl.model.service import Container, Data, Network, Port, Record, Service
from kmuctl.model.site import Site


def with_tls(site: Site) -> bool:
    return site.tls.mode != "off"


def records(site: Site) -> tuple[Record, ...]:
    """Nobody else may certify the names of a domain whose certificates are Let's Encrypt's."""
    return (Record("@", "CAA", '0 issue "letsencrypt.org"'),) if site.tls.mode == "acme" else ()


SERVICE = Service(
    name="caddy",
    title="Caddy",
    essential=True,
    containers=(Container(name="caddy", image="caddy:2.11.7", uid=0, memory=192),),
    ports=(
        Port(80, "tcp", "certificates, redirect to HTTPS"),
        Port(443, "tcp", "HTTPS", when=with_tls),
        Port(443, "udp", "HTTPS over QUIC", when=with_tls),
    ),
    records=records,
    networks=(Network("proxy", 0, internal=False),),
    data=(Data("data", uid=0), Data("logs", uid=0), Data("certs", uid=0)),
    live=("caddy/Caddyfile",),
)
