"""The catalog: every service kmuctl knows, in the order in which a reader meets them."""

from __future__ import annotations

from kmuctl.model.service import Service
from kmuctl.model.site import Names, Site
from kmuctl.model.stack import Stack, build
from kmuctl.services import (
    authentik,
    caddy,
    coturn,
    dozzle,
    element,
    homepage,
    jitsi,
    nextcloud,
    panel,
    postgres,
    stalwart,
    synapse,
    usersync,
)

CATALOG: tuple[Service, ...] = (
    caddy.SERVICE,
    postgres.SERVICE,
    authentik.SERVICE,
    homepage.SERVICE,
    nextcloud.SERVICE,
    synapse.SERVICE,
    element.SERVICE,
    jitsi.SERVICE,
    coturn.SERVICE,
    stalwart.SERVICE,
    dozzle.SERVICE,
    panel.SERVICE,
    usersync.SERVICE,
)
NAMES = Names(
    apps=frozenset(service.name for service in CATALOG if not service.essential),
    essential=frozenset(service.name for service in CATALOG if service.essential),
    containers=frozenset({"stalwart-cli", *(item.name for service in CATALOG for item in service.containers)}),
    hosts=frozenset(route.host for service in CATALOG for route in service.routes),
)


def stack_of(site: Site) -> Stack:
    """The stack of a site, from this catalog."""
    return build(site, CATALOG)
