"""Nextcloud: what is left to do once it runs. Its configuration file comes in by the image's hooks."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.secrets import Secrets
from kmuctl.model.stack import Stack
from kmuctl.model.step import Step
from kmuctl.operations.nextcloud.access import break_glass_step, ready_step, trust_step
from kmuctl.operations.nextcloud.apps import apps_step
from kmuctl.operations.nextcloud.settings import settings_step
from kmuctl.operations.render import Rendered


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    """A way in for emergencies, the apps, then the settings and the sign-on."""
    if "nextcloud" not in stack:
        return
    yield (ready := ready_step(after=("container:nextcloud",)))
    yield break_glass_step(secrets["nextcloud_admin_password"], after=(ready.name,))
    yield (apps := apps_step(stack.site.nextcloud.apps, after=(ready.name,)))
    before = [apps.name, "blueprint:20-logins"]
    if stack.site.tls.mode == "internal":
        yield (trust := trust_step(stack, after=(ready.name, "container:caddy")))
        before.append(trust.name)
    yield settings_step(stack, secrets["nextcloud_oidc_secret"], after=tuple(before))
