"""The Docker engine in memory, and Compose as far as kmuctl uses it."""

from __future__ import annotations

import copy
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from ruamel.yaml import YAML

from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import Answer, ContainerFact
from kmuctl.operations.authentik.discovery import FETCH
from kmuctl.operations.chat import VISIT
from tests.fakes.caddy import visit
from tests.fakes.certificates import issued
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost


@dataclass(frozen=True, slots=True)
class Script:
    """What becomes of a container: it is starting for so many looks, and ends as this."""

    starting: int = 0
    end: Literal["healthy", "unhealthy", "restarting", "exited"] = "healthy"
    says: str = ""
    cured_by_restart: bool = False


@dataclass(slots=True)
class FakeContainer:
    definition: dict[str, Any]
    image_id: str
    serial: int
    folder: str
    started: int
    looks: int = 0
    stopped: bool = False

    def fact(self, script: Script) -> ContainerFact:
        common = ContainerFact(
            state="running",
            health="healthy" if "healthcheck" in self.definition else "",
            labels={**self.definition["labels"], "com.docker.compose.project.working_dir": self.folder},
            image=self.definition["image"],
            image_id=self.image_id,
            started=self.started,
        )
        if self.stopped:
            return replace(common, state="exited", health="")
        if self.looks <= script.starting:
            return replace(common, health="starting", last_check=script.says)
        match script.end:
            case "healthy":
                return common
            case "unhealthy":
                return replace(common, health="unhealthy", last_check=script.says)
            case "restarting":
                return replace(common, state="restarting", health="", restarts=12, exit_code=78)
            case "exited":
                return replace(common, state="exited", health="", exit_code=1)


class FakeEngine:
    """Starts what the rendered `compose.yaml` on the host says, as `docker compose up NAME` would."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.number = "28.3.0"
        self.unreachable: HostError | None = None
        self.fetched: Answer | None = None
        """What a page says to a container, instead of the truth."""
        self.registry: set[str] | None = None
        """Images that can be pulled; None: all."""
        self.images: dict[str, dict[str, str]] = {}
        self.made: dict[str, FakeContainer] = {}
        self.subnets: dict[str, str] = {}
        self.unnamed: set[str] = set()
        """Volumes: here every container has one, by its own name."""
        self.held: set[tuple[int, str]] = set()
        self.scripts: dict[str, Script] = {}
        self.caddy_refuses = ""
        self.certifies = True
        """Caddy gets certificates: DNS leads here."""
        self.caddy_loads = 0
        self._caddyfile = ""
        self._serial = 0

    def clone(self, host: FakeHost) -> FakeEngine:
        twin = copy.copy(self)
        twin.host = host
        twin.images, twin.scripts = copy.deepcopy(self.images), dict(self.scripts)
        twin.made = {name: replace(item) for name, item in self.made.items()}
        twin.subnets, twin.held, twin.unnamed = dict(self.subnets), set(self.held), set(self.unnamed)
        return twin

    def version(self) -> str:
        if self.unreachable:
            raise self.unreachable
        return self.number

    def folder(self) -> str:
        return "/var/lib/docker"

    def containers(self, project: str, names: Iterable[str] | None = None) -> dict[str, ContainerFact]:
        wanted = None if names is None else set(names)
        with self.host.mutex:
            return {
                name: self._look(name, item) for name, item in self.made.items() if wanted is None or name in wanted
            }

    def _look(self, name: str, item: FakeContainer) -> ContainerFact:
        item.looks += 1
        return item.fact(self.scripts.get(name, Script()))

    def image(self, reference: str) -> dict[str, str] | None:
        return self.images.get(reference)

    def networks(self) -> dict[str, list[str]]:
        with self.host.mutex:
            return {name: [subnet] for name, subnet in self.subnets.items()}

    def ports(self, project: str) -> set[tuple[int, str]]:
        return self.held

    def logs(self, project: str, container: str, lines: int) -> str:
        script = self.scripts.get(container, Script())
        return f"{container} says: {script.says or 'nothing'}\n" if container in self.made else ""

    def ask(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        if (container, tuple(command[:2])) == ("caddy", ("caddy", "adapt")):
            answer = json.dumps({"adapted": stdin.decode()})
            return Answer(1, "", f"Error: {self.caddy_refuses}") if self.caddy_refuses else Answer(0, answer)
        if (container, tuple(command[:-3])) == ("caddy", VISIT):
            return visit(self.host, self._caddyfile, command[-3:])
        if container == "caddy" and command[0] == "curl":
            return Answer(0, json.dumps({"adapted": self._caddyfile}))
        if tuple(command[:-1]) == FETCH:
            return self.fetched or self.host.http.authentik.discover(command[-1])
        if program := self.host.http.programs.get(container):
            return program.look(tuple(command), stdin)
        raise Untaught(f"ask {container}: {' '.join(command)}")

    def pull(self, reference: str) -> None:
        if self.registry is not None and reference not in self.registry:
            raise StepFailed(f"cannot pull `{reference}`: manifest unknown", hint="check the name under [images]")
        self.images[reference] = {"id": f"sha256:{reference}"}

    def build(self, reference: str, context: bytes, labels: Mapping[str, str]) -> None:
        self.images[reference] = {**labels, "id": f"sha256:{hashlib.sha256(context).hexdigest()}"}

    def restart(self, project: str, container: str) -> None:
        self.made[container].looks, self.made[container].started = 0, self.host.tick()
        if container == "coturn":
            self.host.http.coturn.start(self.made[container].folder)
        if container == "authentik-ldap":
            self.host.http.stalwart.reconnected()
        if self.scripts.get(container, Script()).cured_by_restart:
            del self.scripts[container]

    def signal(self, project: str, container: str, name: str) -> None:
        self.host.http.sent.append(f"{name} to {container}")
        if container != "coturn":
            raise Untaught(f"{name} to {container}")
        self.host.http.coturn.signal(name)

    def remove(self, project: str, containers: Iterable[str]) -> None:
        for name in containers:
            del self.made[name]
            self.unnamed.discard(name)

    def unnamed_volumes(self, project: str) -> set[str]:
        return self.unnamed & self.made.keys()

    def remove_volumes(self, names: Iterable[str]) -> None:
        assert self.made.keys().isdisjoint(names), "the engine refuses while a container has it"
        self.unnamed.difference_update(names)

    def remove_network(self, name: str) -> None:
        del self.subnets[name]

    def execute(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        if (container, tuple(command[:4])) == ("caddy", ("timeout", "60", "caddy", "reload")):
            self._load_caddyfile("/opt/kmu/rendered")
            return Answer(0, "")
        if program := self.host.http.programs.get(container):
            return program.execute(tuple(command), stdin)
        raise Untaught(f"execute {container}: {' '.join(command)}")

    def stop(self, project: str, container: str) -> None:
        if container in self.made:
            self.made[container].stopped = True

    def compose_up(self, command: tuple[str, ...], folder: str | None, stdin: bytes) -> Answer:
        """Create, recreate or start one container; nothing when it runs as defined."""
        *project_words, name = command[2:]
        assert folder is not None, "Compose needs the project's folder"
        file = "-" if stdin else f"{folder}/compose.yaml"
        place = ("--project-name", "kmu", "--project-directory", folder, "--file", file)
        assert tuple(project_words) == (*place, "up", "--detach", "--no-build", "--quiet-pull")
        project = parse_project(stdin.decode() or self.host.text(file))
        definition = project["services"][name]
        image = self.images.get(definition["image"])
        assert image is not None, f"{name} starts before its image is there"
        self._require_mounts(name, definition, project, folder)
        self._make_networks(definition, project)
        present = self.made.get(name)
        if present and (present.definition, present.image_id) == (definition, image["id"]):
            if present.stopped:
                present.stopped, present.looks, present.started = False, 0, self.host.tick()
            return Answer(0, "")
        self._serial += 1
        self.made[name] = FakeContainer(definition, image["id"], self._serial, folder, self.host.tick())
        self.unnamed.add(name)
        self._started(name, folder)
        return Answer(0, "")

    def compose_down(self, command: tuple[str, ...], folder: str | None, stdin: bytes) -> Answer:
        if stdin or command[4:] != ("down", "--remove-orphans"):
            raise Untaught(f"run: {' '.join(command)}")
        self.made.clear()
        self.subnets = {name: subnet for name, subnet in self.subnets.items() if not name.startswith(f"{command[3]}_")}
        return Answer(0, "")

    def _require_mounts(self, name: str, definition: dict[str, Any], project: dict[str, Any], folder: str) -> None:
        volumes = [str(volume).split(":", 1)[0] for volume in definition.get("volumes", ())]
        secrets = [project["secrets"][secret["source"]]["file"] for secret in definition.get("secrets", ())]
        for source in (*volumes, *definition.get("env_file", ()), *secrets):
            path = posixpath.normpath(posixpath.join(folder, source))
            assert path in self.host.nodes, f"{name} mounts `{path}`, which is not there"

    def _make_networks(self, definition: dict[str, Any], project: dict[str, Any]) -> None:
        for network in definition.get("networks", ()):
            name = f"{project['name']}_{network}"
            subnet = project["networks"][network]["ipam"]["config"][0]["subnet"]
            assert self.subnets.setdefault(name, subnet) == subnet, f"network {name} has another subnet already"

    def _started(self, name: str, folder: str) -> None:
        if name == "caddy":
            self._load_caddyfile(folder)
        if name == "postgres":
            self.host.cluster.start(folder)
        if program := self.host.http.programs.get(name):
            program.start(folder)

    def _load_caddyfile(self, folder: str) -> None:
        self._caddyfile = self.host.text(f"{folder}/caddy/Caddyfile")
        self.caddy_loads += 1
        if self.certifies:
            self.certify(folder)
        if "local_certs" in self._caddyfile:
            data = f"{posixpath.dirname(folder)}/data/caddy/data"
            self.host.write(f"{data}/caddy/pki/authorities/local/root.crt", b"a certificate of its own", mode=0o600)

    def certify(self, folder: str, *, number: int = 1, days: int = 90) -> None:
        """Caddy gets the certificates that it does not have; a further `number` is a renewal of all."""
        authority = re.search(r"acme_ca https://(\S+?)/directory", self._caddyfile)
        issuer = f"{authority[1]}-directory" if authority else "local" if "local_certs" in self._caddyfile else ""
        names = re.findall(r"^([a-z0-9.-]+) \{$", self._caddyfile, re.MULTILINE) if issuer else []
        for name in names:
            path = posixpath.normpath(f"{folder}/../data/caddy/data/caddy/certificates/{issuer}/{name}/{name}")
            if number > 1 or f"{path}.crt" not in self.host.nodes:
                pair = issued(name, number=number, days=days)
                self.host.write(f"{path}.crt", pair.certificate, mode=0o600)
                self.host.write(f"{path}.key", pair.key, mode=0o600)


@cache
def parse_project(text: str) -> dict[str, Any]:
    """A Compose file as Compose understands it: every `$$` is a dollar."""
    project: dict[str, Any] = _single_dollars(YAML(typ="safe").load(text))
    return project


def _single_dollars(value: Any) -> Any:
    if isinstance(value, str):
        assert "$" not in value.replace("$$", ""), f"Compose would expand `{value}`"
        return value.replace("$$", "$")
    if isinstance(value, dict):
        return {_single_dollars(key): _single_dollars(item) for key, item in value.items()}
    return [_single_dollars(item) for item in value] if isinstance(value, list) else value
