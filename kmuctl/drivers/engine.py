"""The Docker engine through its SDK. Creating containers is left to `docker compose`."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kmuctl.drivers import processes
from kmuctl.drivers.processes import Run
from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import Answer, ContainerFact

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

SERVICE = "com.docker.compose.service"
PROJECT = "com.docker.compose.project"
ONE_OFF = "com.docker.compose.oneoff=False"
"""Containers of `docker compose run` carry the same service name: they are not ours."""
UNNAMED = re.compile(r"[0-9a-f]{64}")
TIMEOUT = 120
INSTALL_HINT = "install Docker Engine with its Compose plugin: https://docs.docker.com/engine/install/"


Method = Callable[..., Any]
Class = TypeVar("Class", bound=type)


def translated(engine: Class) -> Class:
    """What the SDK raises when the engine fails in the middle becomes an error that an admin can read."""
    for name, method in [*vars(engine).items()]:
        if not name.startswith("_"):
            setattr(engine, name, _translated(method))
    return engine


def _translated(method: Method) -> Method:
    @functools.wraps(method)
    def guarded(*args: Any, **options: Any) -> Any:
        from docker.errors import DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            return method(*args, **options)
        except (DockerException, RequestException, HTTPError, ConnectionError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise HostError(f"the Docker engine failed: {reason}", hint="`systemctl status docker` says more") from None

    return guarded


@translated
class DockerEngine:
    """Connects at the first question, so that a command which needs no engine does not ask for one.

    `run` runs a command beside the engine; `url` leads to it, where it is not this machine's own.
    """

    def __init__(self, run: Run = processes.run, url: str = "") -> None:
        self._run = run
        self._url = url

    @cached_property
    def _client(self) -> DockerClient:
        from docker.errors import DockerException

        try:
            client = self._connect()
            client.ping()
        except DockerException as error:
            raise unreachable(str(error)) from None
        return client

    def _connect(self) -> DockerClient:
        import docker

        if self._url:
            return _frugal(docker.DockerClient(base_url=self._url, timeout=TIMEOUT))
        if (elsewhere := os.environ.get("DOCKER_HOST", "")) and not elsewhere.startswith("unix://"):
            raise HostError(
                f"DOCKER_HOST leads to `{elsewhere}`: kmuctl works with the engine of its own host only",
                hint="`unset DOCKER_HOST`, and name the server by `--host ssh://USER@ADDRESS`",
            )
        # the SDK knows no contexts: the command-line client must not follow one to another engine
        os.environ["DOCKER_CONTEXT"] = "default"
        return docker.from_env(timeout=TIMEOUT)

    def version(self) -> str:
        return str(self._client.version()["Version"])

    def folder(self) -> str:
        return str(self._client.info()["DockerRootDir"])

    def containers(self, project: str, names: Iterable[str] | None = None) -> dict[str, ContainerFact]:
        wanted = None if names is None else set(names)
        if wanted is not None and len(wanted) == 1:
            return {name: _fact(one.attrs) for name in wanted if (one := self._find(project, name))}
        labels = [f"{PROJECT}={project}", ONE_OFF]
        listed = self._client.api.containers(all=True, filters={"label": labels})
        found = [item["Id"] for item in listed if wanted is None or item["Labels"][SERVICE] in wanted]
        return {item["Config"]["Labels"][SERVICE]: _fact(item) for item in self._inspected(found)}

    def _inspected(self, containers: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Those that are still there. The interface tells of one at a time: over a link its own client asks faster."""
        from docker.errors import NotFound

        if self._url and len(containers) > 1:
            yield from json.loads(
                self._run(("docker", "inspect", "--type", "container", *containers), b"").stdout or "[]"
            )
            return
        for container in containers:
            with suppress(NotFound):
                yield self._client.api.inspect_container(container)

    def image(self, reference: str) -> dict[str, str] | None:
        from docker.errors import ImageNotFound

        try:
            image = self._client.images.get(reference)
        except ImageNotFound:
            return None
        return {**image.labels, "id": str(image.id)}

    def networks(self) -> dict[str, list[str]]:
        return {
            str(network.name): [item["Subnet"] for item in network.attrs["IPAM"]["Config"] or () if "Subnet" in item]
            for network in self._client.networks.list()
        }

    def ports(self, project: str) -> set[tuple[int, str]]:
        """Host ports that running containers of the project hold."""
        listed = self._client.api.containers(filters={"label": f"{PROJECT}={project}"})
        return {
            (port["PublicPort"], port["Type"])
            for container in listed
            for port in container["Ports"] or ()
            if "PublicPort" in port
        }

    def logs(self, project: str, container: str, lines: int) -> str:
        found = self._find(project, container)
        return found.logs(tail=lines).decode(errors="replace") if found else ""

    def ask(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        return self.execute(project, container, command, stdin)

    def address(self, project: str, container: str) -> str | None:
        """An address at which this machine reaches a running container."""
        found = self._find(project, container)
        networks = found.attrs["NetworkSettings"]["Networks"].values() if found else ()
        return next((str(network["IPAddress"]) for network in networks if network["IPAddress"]), None)

    def pull(self, reference: str) -> None:
        from docker.errors import APIError

        tagged, _, digest = reference.partition("@")
        name, _, tag = tagged.rpartition(":")
        try:
            for news in self._client.api.pull(name, tag=digest or tag, stream=True, decode=True):
                if "error" in news:
                    raise _not_pulled(reference, str(news["error"]))
        except APIError as error:
            raise _not_pulled(reference, error.explanation or str(error)) from None

    def build(self, reference: str, context: bytes, labels: Mapping[str, str]) -> None:
        from io import BytesIO

        from docker.errors import APIError, BuildError

        try:
            self._client.images.build(
                fileobj=BytesIO(context), custom_context=True, tag=reference, labels=dict(labels),
                network_mode="host", rm=True, forcerm=True,
            )  # fmt: skip
        except (APIError, BuildError) as error:
            reason = str(error).strip().splitlines()[-1]
            hint = "it needs the base image and the Python packages: check this machine's way to the internet"
            raise StepFailed(f"cannot build `{reference}`: {reason}", hint=hint) from None

    def restart(self, project: str, container: str) -> None:
        if found := self._find(project, container):
            found.restart(timeout=_patience(found))

    def signal(self, project: str, container: str, name: str) -> None:
        if found := self._find(project, container):
            found.kill(signal=name)

    def stop(self, project: str, container: str) -> None:
        if found := self._find(project, container):
            found.stop(timeout=_patience(found))

    def remove(self, project: str, containers: Iterable[str]) -> None:
        for name in containers:
            if found := self._find(project, name):
                found.stop(timeout=_patience(found))
                found.remove(force=True)
                self.remove_volumes(_unnamed(found.attrs))

    def unnamed_volumes(self, project: str) -> set[str]:
        labels = [f"{PROJECT}={project}"]
        found = self._client.api.containers(all=True, filters={"label": labels})
        return {volume for container in found for volume in _unnamed(container)}

    def remove_volumes(self, names: Iterable[str]) -> None:
        from docker.errors import NotFound

        for name in names:
            with suppress(NotFound):
                self._client.api.remove_volume(name)

    def remove_network(self, name: str) -> None:
        for network in self._client.networks.list(names=[name]):
            network.reload()
            for container in network.attrs.get("Containers") or ():
                network.disconnect(container, force=True)
            network.remove()

    def execute(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        found = self._find(project, container)
        if found is None:
            return Answer(1, "", f"{container} is not there")
        if stdin or self._url:
            return self._by_client(found, command, stdin)
        result = found.exec_run(list(command), demux=True)
        out, err = ((part or b"").decode(errors="replace") for part in cast("tuple[bytes, bytes]", result.output))
        return Answer(cast("int", result.exit_code), out, err)

    def _by_client(self, container: Container, command: Sequence[str], stdin: bytes) -> Answer:
        """The SDK has no end of input for an exec, and over a link it waits three times; the program has, and once."""
        return self._run(("docker", "exec", *(["-i"] if stdin else []), str(container.id), *command), stdin)

    def _find(self, project: str, container: str) -> Container | None:
        """By the name that Compose gives, which takes one question; by its labels where it has another one."""
        from docker.errors import NotFound

        labels = {PROJECT: project, SERVICE: container}
        with suppress(NotFound):
            found = self._client.containers.get(f"{project}-{container}-1")
            if found.labels.items() >= labels.items():
                return found
        filters: Any = {"label": [*(f"{name}={value}" for name, value in labels.items()), ONE_OFF]}
        listed = self._client.containers.list(all=True, filters=filters, ignore_removed=True)
        return listed[0] if listed else None


def _frugal(client: DockerClient) -> DockerClient:
    """The SDK keeps a connection for each address that it asked for; over a link they are few."""
    from docker.transport import UnixHTTPAdapter

    class OnePool(UnixHTTPAdapter):
        def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
            return super().get_connection("http+docker://localhost", proxies)

    api: Any = client.api
    path = api._custom_adapter.socket_path
    api._custom_adapter.close()
    api._custom_adapter = OnePool(path, TIMEOUT)
    api.mount("http+docker://", api._custom_adapter)
    return client


def _unnamed(container: Mapping[str, Any]) -> list[str]:
    """Volumes that an image asked for. Compose hands them on by name, and nothing of Docker's removes them then."""
    mounts = (mount for mount in container["Mounts"] if mount["Type"] == "volume")
    return [mount["Name"] for mount in mounts if UNNAMED.fullmatch(mount["Name"])]


def unreachable(reason: str) -> HostError:
    """The SDK has one exception type for every way of not reaching the engine; its cause tells them apart."""
    if "Permission denied" in reason:
        return HostError("this user may not use Docker", hint="run it with sudo")
    if any(words in reason for words in ("No such file", "Connection refused", "without response")):
        return HostError(
            "the Docker engine does not answer", hint="start it: `systemctl start docker`; " + INSTALL_HINT
        )
    return HostError(f"the Docker engine does not answer: {reason}", hint=INSTALL_HINT)


def _not_pulled(reference: str, reason: str) -> StepFailed:
    hint = "check the name under [images], the registry's status and this machine's way to the internet"
    if "no space left" in reason:
        hint = "the disk is full: free some space (`docker image prune`), then run the same command again"
    return StepFailed(f"cannot pull `{reference}`: {reason.strip().partition(chr(10))[0]}", hint=hint)


def _patience(container: Container) -> int:
    """Seconds that the container's own definition gives it to stop; the SDK would take ten for all."""
    return int(container.attrs["Config"].get("StopTimeout") or 10)


def _fact(attributes: Mapping[str, Any]) -> ContainerFact:
    state = attributes["State"]
    health = state.get("Health") or {}
    log = health.get("Log") or ()
    failed = next((entry["Output"] for entry in reversed(log) if entry["ExitCode"] != 0), "")
    return ContainerFact(
        state=state["Status"],
        health="" if health.get("Status", "none") == "none" else health["Status"],
        labels=attributes["Config"]["Labels"],
        image=attributes["Config"]["Image"],
        image_id=attributes["Image"],
        restarts=attributes.get("RestartCount", 0),
        exit_code=state.get("ExitCode", 0),
        started=_seconds(state["StartedAt"]),
        last_check=" ".join(failed.split())[-200:],
    )


def _seconds(moment: str) -> float:
    """Docker writes nanoseconds, and the year 1 for never."""
    from datetime import datetime

    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return max(0.0, datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}"))
