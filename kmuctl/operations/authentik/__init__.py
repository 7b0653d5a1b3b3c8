"""Authentik applies its blueprints by itself, its outposts connect by themselves. Here is looked whether they did."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.secrets import Secrets
from kmuctl.model.stack import Stack
from kmuctl.model.step import Step
from kmuctl.operations.authentik.api import SERVER, WORKER, Api
from kmuctl.operations.authentik.blueprints import blueprint_steps, own_blueprints
from kmuctl.operations.authentik.discovery import discovery_steps
from kmuctl.operations.authentik.outposts import outposts_step
from kmuctl.operations.authentik.people import addresses_step
from kmuctl.operations.authentik.settings import settings_step
from kmuctl.operations.authentik.upstream import upstream_step
from kmuctl.operations.render import Rendered


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    """Every blueprint applied, nothing of it undone since, both outposts connected, found by who asks it."""
    own = own_blueprints(rendered)
    api = Api(secrets["authentik_bootstrap_token"])
    yield (alone := upstream_step(api, after=(f"container:{SERVER}", f"container:{WORKER}")))
    yield from (steps := [*blueprint_steps(own, api, after=(alone.name,))])
    applied = tuple(step.name for step in steps)
    yield (settings := settings_step(own, api, secrets, after=applied))
    yield outposts_step(api, after=(settings.name, "container:authentik-ldap"))
    yield from discovery_steps(stack, after=(settings.name,))
    if "stalwart" in stack:
        yield addresses_step(api, after=(settings.name,))
