"""Steps for images, networks and containers. Compose starts them; the engine says how they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import ContainerFact, EngineReader, Host, Reader
from kmuctl.model.service import Container
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.compose import DEFINITION, FILE, FILES, Definition
from kmuctl.operations.render import Rendered

RESTARTS_UNTIL_HOPELESS = 12
"""Docker doubles its pause up to a minute: the twelfth restart comes after some four minutes of trying."""
_one_compose_at_a_time = Lock()


def serving(host: Reader, *names: str) -> bool:
    """Whether all of them run and are well."""
    found = host.engine.containers(PROJECT, names)
    return len(found) == len(names) and all(fact.serving for fact in found.values())


def image_step(reference: str) -> Step:
    def check(host: Reader) -> Drift | None:
        return None if host.engine.image(reference) else Drift("not on this machine")

    return Step(name=f"image:{reference}", check=check, apply=lambda host: host.engine.pull(reference))


def built_image_step(reference: str, digest: str, context: bytes) -> Step:
    """An image made here, again whenever its source changed."""
    label = "kmuctl.source"

    def check(host: Reader) -> Drift | None:
        image = host.engine.image(reference)
        if image is None:
            return Drift("to build")
        return None if image.get(label) == digest else Drift("its source changed")

    def apply(host: Host) -> None:
        host.engine.build(reference, context, {label: digest})

    return Step(name=f"image:{reference}", check=check, apply=apply)


def network_steps(stack: Stack, *, after: tuple[str, ...]) -> Iterator[Step]:
    """Networks whose address range changed make way; Compose makes them anew."""
    for network in stack.networks():
        yield _network_step(f"{stack.project}_{network.name}", stack.subnet(network.name), after)


def _network_step(name: str, subnet: str, after: tuple[str, ...]) -> Step:
    def check(host: Reader) -> Drift | None:
        found = host.engine.networks().get(name)
        return Drift(f"{', '.join(found)} becomes {subnet}") if found not in (None, [subnet]) else None

    return Step(name=f"network:{name}", check=check, apply=lambda host: host.engine.remove_network(name), after=after)


def container_step(stack: Stack, container: Container, rendered: Rendered, *, after: tuple[str, ...]) -> Step:
    """One container runs as defined, with the files as they are now, and is healthy."""
    name, folder = container.name, stack.rendered
    files = [f"{folder}/{path}" for path in rendered.mounted[name]]

    def check(host: Reader) -> Drift | None:
        fact = host.engine.containers(stack.project, [name]).get(name)
        return (
            outdated(fact, rendered.containers[name], host.engine) or ailing(name, fact) or overtaken(fact, files, host)
        )

    def apply(host: Host) -> None:
        compose_up(host, folder, name)
        fact = host.engine.containers(stack.project, [name]).get(name)
        if stuck(fact) or overtaken(fact, files, host):
            host.engine.restart(stack.project, name)

    return Step(
        name=f"container:{name}", check=check, apply=apply, after=after, deadline=container.deadline, logs=(name,),
        hint=f"`kmuctl logs {name}` shows more; then run `kmuctl up` again",
    )  # fmt: skip


def compose_up(host: Host, folder: str, name: str, *, project: bytes = b"") -> None:
    """Start one container as the rendered file defines it, or as another `project` does."""
    # every name spelt out: COMPOSE_FILE and its like in root's environment must not lead elsewhere
    file = "-" if project else f"{folder}/{FILE}"
    place = ("--project-name", PROJECT, "--project-directory", folder, "--file", file)
    command = ("docker", "compose", *place, "up", "--detach", "--no-build", "--quiet-pull", name)
    with _one_compose_at_a_time:
        answer = host.run(command, stdin=project, folder=folder)
    if answer.code:
        raise StepFailed(f"`docker compose up {name}` failed: {answer.reason}", hint=_hint(answer.stderr))


def _hint(text: str) -> str:
    return "something else took the port: `ss -lntup` names it" if "already allocated" in text else ""


def outdated(fact: ContainerFact | None, definition: Definition, engine: EngineReader) -> Drift | None:
    """Why Compose would create the container anew."""
    if fact is None:
        return Drift("to create")
    labels: Mapping[str, str] = definition["labels"]
    if fact.labels.get(DEFINITION) != labels[DEFINITION]:
        return Drift("its definition changed")
    if fact.labels.get(FILES) != labels[FILES]:
        return Drift("its rendered files changed")
    image = engine.image(definition["image"])
    if image is not None and image["id"] != fact.image_id:
        return Drift("its image changed")
    return None


def ailing(name: str, fact: ContainerFact | None) -> Drift | None:
    """Why a container is not fit for work."""
    if fact is None:
        return Drift(f"{name} does not exist")
    if fact.state == "restarting" or (
        fact.state == "running" and fact.restarts >= RESTARTS_UNTIL_HOPELESS and fact.health != "healthy"
    ):
        times = f"{name} keeps stopping (exit code {fact.exit_code}, {fact.restarts} restarts)"
        return Drift(times, hopeless=fact.restarts >= RESTARTS_UNTIL_HOPELESS)
    if fact.state != "running":
        return Drift(f"{name} is {fact.state}" + (f" (exit code {fact.exit_code})" if fact.state == "exited" else ""))
    if fact.health == "starting":
        return Drift(f"{name} is starting" + (f": {fact.last_check}" if fact.last_check else ""))
    if fact.health == "unhealthy":
        return Drift(f"{name} is unhealthy: {fact.last_check or 'its check says nothing'}", hopeless=True)
    return None


def stuck(fact: ContainerFact | None) -> bool:
    """Compose sees a container that runs, and leaves it alone."""
    return fact is not None and (fact.health == "unhealthy" or fact.state == "restarting")


def overtaken(fact: ContainerFact | None, files: Iterable[str], host: Reader) -> Drift | None:
    """A file was written after the start: the container still has the old one, in memory or mounted by itself."""
    if fact is None:
        return None
    present, now = host.facts(files), host.now()
    for path in files:
        # a clock that was set back must not make us restart for ever
        if path not in present or fact.started < present[path].written <= now:
            return Drift(f"it started before {path.rsplit('/', 1)[1]} was written")
    return None


def orphans_step(stack: Stack, after: tuple[str, ...]) -> Step:
    """Containers of apps that were switched off go; their data stays."""
    wanted = {container.name for container in stack.containers()}

    def orphans(host: Reader) -> list[str]:
        return sorted(host.engine.containers(stack.project).keys() - wanted)

    def check(host: Reader) -> Drift | None:
        found = orphans(host)
        return Drift(f"to remove: {', '.join(found)}") if found else None

    def apply(host: Host) -> None:
        host.engine.remove(stack.project, orphans(host))

    return Step(name="containers:orphans", check=check, apply=apply, after=after)
