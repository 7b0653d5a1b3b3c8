"""Make the host match the site: files, images, PostgreSQL, containers in the order of their needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kmuctl import SITE_FILE
from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host
from kmuctl.model.service import Service
from kmuctl.model.stack import Stack
from kmuctl.model.step import Step
from kmuctl.operations import authentik, caddy, certs, chat, jitsi, nextcloud, synapse
from kmuctl.operations.containers import built_image_step, container_step, image_step, network_steps, orphans_step
from kmuctl.operations.databases import database_step
from kmuctl.operations.files import DOMAIN_FILE, copy_step, data_step, file_steps, stale_step
from kmuctl.operations.plan import at_least_once, with_predecessors
from kmuctl.operations.program import program_of, program_steps
from kmuctl.operations.render import Rendered, render
from kmuctl.operations.renewal import renewals
from kmuctl.operations.stalwart import administrators
from kmuctl.operations.stalwart import settings as stalwart_settings
from kmuctl.operations.stalwart.pause import refusing_to_pause, with_mail_paused
from kmuctl.operations.stalwart.setup import setup_step
from kmuctl.operations.timers import timer_steps
from kmuctl.operations.vault import Vault, secrets_step, settled_step

PANEL_IMAGE = "kmuctl-panel:"
PREPARATIONS = {"stalwart": setup_step}
"""What comes before a container starts for people."""
WIRINGS = (
    authentik.wiring, synapse.wiring, stalwart_settings.wiring, administrators.wiring, nextcloud.wiring, certs.wiring,
    chat.wiring,
)  # fmt: skip


def up(stack: Stack, vault: Vault, site_file: bytes) -> Iterator[Step]:
    """All steps. The body sees only the stack and the secrets; the host is looked at inside the checks."""
    steps = [*_everything(stack, vault, site_file)]
    yield from steps
    if vault.previous:
        yield settled_step(vault, after=tuple(step.name for step in steps))


def _everything(stack: Stack, vault: Vault, site_file: bytes) -> Iterator[Step]:
    rendered = render(stack, vault.values)
    prepared = [*_prepare(stack, vault, rendered, site_file)]
    yield from prepared
    images = {step.name: step for step in _images(stack)}
    yield from images.values()
    written = tuple(step.name for step in prepared)
    yield from (program := [*program_steps(stack)])
    yield from timer_steps(stack, program_of(stack), after=(*written, *(step.name for step in program)))
    yield from network_steps(stack, after=written)
    running = with_mail_paused(_run(stack, vault, rendered, written), rendered.containers)
    yield from running
    caddyfile, definition = rendered.files["caddy/Caddyfile"].content, rendered.containers["caddy"]
    yield caddy.config_step(caddyfile, definition, after=("container:caddy",))
    yield from _wire(stack, vault, rendered)
    yield orphans_step(stack, after=tuple(step.name for step in running))


def _wire(stack: Stack, vault: Vault, rendered: Rendered) -> Iterator[Step]:
    """What is left to do inside the services once they run, and know the secrets by which they are asked."""
    renewed = tuple(step.name for service in stack.services for step in renewals(service, vault))
    for wiring in WIRINGS:
        for step in wiring(stack, vault.values, rendered):
            late = replace(step, after=(*step.after, *renewed))
            # the worker may have applied it before it had the new values
            anew = not _handed_on(step, rendered).isdisjoint(vault.previous)
            yield at_least_once(late, "its secrets are new") if anew else late


def _handed_on(step: Step, rendered: Rendered) -> set[str]:
    """The secrets that a blueprint gives to Authentik."""
    kind, _, name = step.name.partition(":")
    if kind != "blueprint":
        return set()
    return set(re.findall(r"!File /run/secrets/(\w+)", rendered.files[f"blueprints/{name}.yaml"].content.decode()))


def _prepare(stack: Stack, vault: Vault, rendered: Rendered, site_file: bytes) -> Iterator[Step]:
    folder = stack.folder
    yield secrets_step(vault)
    yield copy_step("site", f"{folder}/{SITE_FILE}", site_file)
    yield copy_step("domain", f"{folder}/{DOMAIN_FILE}", f"{stack.site.domain}\n".encode())
    yield from (data_step(stack, service) for service in stack.services if service.data)
    if "jitsi" in stack:
        yield jitsi.accounts_step(stack, vault.values)
    if stack.site.tls.mode == "files":
        yield caddy.certificate_step(stack)
    yield from (written := [*file_steps(stack.rendered, rendered.files)])
    yield stale_step(stack.rendered, rendered.files, after=tuple(step.name for step in written))


def _images(stack: Stack) -> Iterator[Step]:
    for reference in dict.fromkeys(container.image for container in stack.containers()):
        if reference.startswith(PANEL_IMAGE):
            from kmuctl.panel import image

            yield built_image_step(reference, image.digest(), image.context())
        else:
            yield image_step(reference)


def _run(stack: Stack, vault: Vault, rendered: Rendered, prepared: tuple[str, ...]) -> Iterator[Step]:
    """Containers after their images, their databases and the containers that they depend on."""
    for service in stack.in_order():
        yield from (database_step(database, vault) for database in service.databases)
        for name in _start_order(service, rendered):
            definition = rendered.containers[name]
            before = (
                *prepared,
                f"image:{definition['image']}",
                *(f"network:{stack.project}_{network}" for network in definition["networks"]),
                *(f"database:{database.name}" for database in service.databases),
                *(f"container:{other}" for other in definition.get("depends_on", ())),
                *(("caddy:authority",) if caddy.trusts_authority(definition) else ()),
            )
            if preparation := PREPARATIONS.get(name):
                yield (step := preparation(stack, rendered, after=before))
                before = (*before, step.name)
            yield container_step(stack, service.container(name), rendered, after=before)
            if name == caddy.CADDY and stack.site.tls.mode == "internal":
                yield caddy.authority_step(stack, after=("container:caddy",))
        yield from renewals(service, vault)


def _start_order(service: Service, rendered: Rendered) -> list[str]:
    from graphlib import TopologicalSorter

    own = [container.name for container in service.containers]
    graph = {name: [other for other in rendered.containers[name].get("depends_on", ()) if other in own] for name in own}
    return list(TopologicalSorter(graph).static_order())


def for_one(service: Service, steps: Iterable[Step]) -> list[Step]:
    """The steps that bring one service, and the door to it; what concerns every app is left to a whole `up`."""
    containers = {f"container:{container.name}" for container in service.containers}
    wanted = refusing_to_pause(with_predecessors(steps, containers | {"container:caddy", "caddy:config"}))
    return [replace(step, apply=_refuse_alone) if step.name.startswith("network:") else step for step in wanted]


def _refuse_alone(host: Host) -> None:
    raise StepFailed("a change of this network concerns every app", hint="run `kmuctl up` without --only")
