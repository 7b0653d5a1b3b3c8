"""A machine in memory: files, a Docker engine and a PostgreSQL cluster that keep the promises of the real ones.

Strict: a command that nobody taught fails the test, and so does a mount whose source does not lie on the host.
"""

from __future__ import annotations

import copy
import hashlib
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from threading import RLock
from typing import Any, Literal, Self
from urllib.parse import unquote

from ruamel.yaml import YAML

from kmuctl.model.errors import Busy, HostError, StepFailed
from kmuctl.model.host import Answer, Call, ContainerFact, DatabaseFact, Fact, Reply

DEFAULT_COLLATION = "en_US.utf8"
Run = Callable[[tuple[str, ...], str | None], Answer]


class Untaught(AssertionError):
    """The code under test did something that the fake machine has no answer for."""


@dataclass(frozen=True, slots=True)
class Node:
    """One path; a folder has no content."""

    content: bytes | None
    mode: int = 0o755
    uid: int = 0
    written: int = 0

    def fact(self) -> Fact:
        digest = "" if self.content is None else hashlib.sha256(self.content).hexdigest()
        return Fact(digest, self.mode, self.uid, folder=self.content is None, written=self.written)


class FakeHost:
    """Files as a dict, queries as taught answers, `run` for the few commands that kmuctl changes a host with."""

    def __init__(self) -> None:
        self.mutex = RLock()
        self.clock = 0
        self.held: dict[str, str] = {}
        self.nodes: dict[str, Node] = {"/": Node(None)}
        self.answers: dict[tuple[str, ...], Answer] = {}
        self.engine = FakeEngine(self)
        self.cluster = FakeCluster(self)
        self.http = FakeHttp(self)

    def clone(self) -> Self:
        """The same machine once more, to go another way from here."""
        twin = copy.copy(self)
        twin.mutex = RLock()
        twin.held = dict(self.held)
        twin.nodes, twin.answers = dict(self.nodes), dict(self.answers)
        twin.engine, twin.cluster = self.engine.clone(twin), self.cluster.clone(twin)
        twin.http = self.http.clone(twin)
        return twin

    def teach(self, *command: str, code: int = 0, stdout: str = "", stderr: str = "") -> None:
        """Answer every query that starts with these words."""
        self.answers[command] = Answer(code, stdout, stderr)

    def read(self, path: str) -> bytes | None:
        node = self.nodes.get(path)
        return node.content if node else None

    def text(self, path: str) -> str:
        content = self.read(path)
        assert content is not None, f"no file `{path}`"
        return content.decode()

    def facts(self, paths: Iterable[str]) -> dict[str, Fact]:
        return {path: self.nodes[path].fact() for path in paths if path in self.nodes}

    def tree(self, folder: str) -> list[str]:
        with self.mutex:
            files = [path for path, node in self.nodes.items() if node.content is not None]
        return sorted(path.removeprefix(f"{folder}/") for path in files if path.startswith(f"{folder}/"))

    def query(self, command: Sequence[str]) -> Answer:
        words = tuple(command)
        for length in range(len(words), 0, -1):
            if words[:length] in self.answers:
                return self.answers[words[:length]]
        raise Untaught(f"query: {' '.join(words)}")

    def run(self, command: Sequence[str], *, stdin: bytes = b"", folder: str | None = None) -> Answer:
        known: dict[str, Run] = {"up": self.engine.compose_up, "down": self.engine.compose_down}
        verb = next((word for word in command if word in known), "")
        if tuple(command[:3]) != ("docker", "compose", "--project-name") or not verb or stdin:
            raise Untaught(f"run: {' '.join(command)}")
        with self.mutex:
            return known[verb](tuple(command), folder)

    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        with self.mutex:
            self._parents(path)
            present = self.nodes.get(path, Node(b""))
            assert present.content is not None, f"`{path}` is a folder"
            same = path in self.nodes and present.content == content
            self.nodes[path] = Node(content, mode, uid, present.written if same else self.tick())

    def tick(self) -> int:
        """The time; no two things happen at the same."""
        self.clock += 1
        return self.clock

    @contextmanager
    def lock(self, path: str, holder: str) -> Iterator[None]:
        """`held` may be filled by a test: then another kmuctl has the lock."""
        assert posixpath.dirname(path) in self.nodes, f"no folder for `{path}`"
        if path in self.held:
            raise Busy(f"another kmuctl is at work here: {self.held[path]}", hint="wait")
        self.held[path] = holder
        try:
            yield
        finally:
            del self.held[path]

    def make_folder(self, path: str, *, mode: int, uid: int) -> None:
        with self.mutex:
            self._parents(path)
            assert self.nodes.get(path, Node(None)).content is None, f"`{path}` is a file"
            self.nodes[path] = Node(None, mode, uid)

    def remove(self, path: str) -> None:
        with self.mutex:
            for known in [known for known in self.nodes if known == path or known.startswith(f"{path}/")]:
                del self.nodes[known]

    def snapshot(self) -> dict[str, Any]:
        """Everything that a second run must leave alone; the lock and the journal do not count."""
        return {
            "files": {path: node for path, node in self.nodes.items() if "/state" not in path},
            "containers": {name: item.serial for name, item in self.engine.made.items()},
            "networks": dict(self.engine.subnets),
            "images": sorted(self.engine.images),
            "caddy": self.engine.caddy_loads,
            "databases": dict(self.cluster.found),
            "sent": list(self.http.sent),
            "roles": dict(self.cluster.roles),
        }

    def _parents(self, path: str) -> None:
        while (path := posixpath.dirname(path)) not in self.nodes:
            self.nodes[path] = Node(None)
        assert self.nodes[path].content is None, f"`{path}` is a file"


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
        self.registry: set[str] | None = None
        """Images that can be pulled; None: all."""
        self.images: dict[str, dict[str, str]] = {}
        self.made: dict[str, FakeContainer] = {}
        self.subnets: dict[str, str] = {}
        self.held: set[tuple[int, str]] = set()
        self.scripts: dict[str, Script] = {}
        self.caddy_refuses = ""
        self.caddy_loads = 0
        self._caddyfile = ""
        self._serial = 0

    def clone(self, host: FakeHost) -> FakeEngine:
        twin = copy.copy(self)
        twin.host = host
        twin.images, twin.scripts = copy.deepcopy(self.images), dict(self.scripts)
        twin.made = {name: replace(item) for name, item in self.made.items()}
        twin.subnets, twin.held = dict(self.subnets), set(self.held)
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
        if container == "caddy" and command[0] == "curl":
            return Answer(0, json.dumps({"adapted": self._caddyfile}))
        raise Untaught(f"ask {container}: {' '.join(command)}")

    def pull(self, reference: str) -> None:
        if self.registry is not None and reference not in self.registry:
            raise StepFailed(f"cannot pull `{reference}`: manifest unknown", hint="check the name under [images]")
        self.images[reference] = {"id": f"sha256:{reference}"}

    def build(self, reference: str, context: bytes, labels: Mapping[str, str]) -> None:
        self.images[reference] = {**labels, "id": f"sha256:{hashlib.sha256(context).hexdigest()}"}

    def restart(self, project: str, container: str) -> None:
        self.made[container].looks, self.made[container].started = 0, self.host.tick()
        if self.scripts.get(container, Script()).cured_by_restart:
            del self.scripts[container]

    def remove(self, project: str, containers: Iterable[str]) -> None:
        for name in containers:
            del self.made[name]

    def remove_network(self, name: str) -> None:
        del self.subnets[name]

    def execute(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        if (container, tuple(command[:4])) == ("caddy", ("timeout", "60", "caddy", "reload")):
            self._load_caddyfile("/opt/kmu/rendered")
            return Answer(0, "")
        if (container, tuple(command[:-1])) == ("authentik-worker", ("ak", "create_recovery_key", "60", "--")):
            known = command[-1] == "mmustermann"
            said = "Store this link safely, as it will allow anyone in.\n/recovery/use-token/k3y/\n"
            return Answer(0, said) if known else Answer(0, "", f"User '{command[-1]}' not found.\n")
        if (container, tuple(command[:2])) == ("authentik-worker", ("ak", "apply_blueprint")):
            refusal = self.host.http.authentik.complaint(command[2])
            return Answer(1, "", f"Blueprint invalid\n{refusal}\n") if refusal else Answer(0, "")
        raise Untaught(f"execute {container}: {' '.join(command)}")

    def stop(self, name: str) -> None:
        self.made[name].stopped = True

    def compose_up(self, command: tuple[str, ...], folder: str | None) -> Answer:
        """Create, recreate or start one container; nothing when it runs as defined."""
        *project_words, name = command[2:]
        assert folder is not None, "Compose needs the project's folder"
        place = ("--project-name", "kmu", "--project-directory", folder, "--file", f"{folder}/compose.yaml")
        assert tuple(project_words) == (*place, "up", "--detach", "--no-build", "--quiet-pull")
        project = parse_project(self.host.text(f"{folder}/compose.yaml"))
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
        self._started(name, folder)
        return Answer(0, "")

    def compose_down(self, command: tuple[str, ...], folder: str | None) -> Answer:
        if command[4:] != ("down", "--remove-orphans", "--volumes"):
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
        if name == "authentik-worker":
            self.host.http.authentik.start(folder)

    def _load_caddyfile(self, folder: str) -> None:
        self._caddyfile = self.host.text(f"{folder}/caddy/Caddyfile")
        self.caddy_loads += 1


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


class FakeCluster:
    """Databases and roles. The superuser's password is the one of the first start, as with the real image."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.superuser = ""
        self.found: dict[str, DatabaseFact] = {}
        self.roles: dict[str, str] = {}

    def clone(self, host: FakeHost) -> FakeCluster:
        twin = copy.copy(self)
        twin.host, twin.found, twin.roles = host, dict(self.found), dict(self.roles)
        return twin

    def start(self, folder: str) -> None:
        marker = posixpath.normpath(f"{folder}/../data/postgres/data/PG_VERSION")
        if marker not in self.host.nodes:
            self.host.write(marker, b"17\n", mode=0o600, uid=999)
            self.superuser = self.host.text(f"{folder}/secrets/postgres/postgres_password")
            self.found, self.roles = {}, {}
            self.host.http.authentik.token, self.host.http.authentik.applied = "", {}

    def databases(self, password: str) -> dict[str, DatabaseFact]:
        self._sign_in(password)
        return dict(self.found)

    def accepts(self, role: str, password: str) -> bool:
        return role in self.found and self.roles.get(role) == password

    def set_role(self, password: str, role: str, role_password: str) -> None:
        self._sign_in(password)
        self.roles[role] = role_password

    def create_database(self, password: str, name: str, collation: str) -> None:
        self._sign_in(password)
        assert name in self.roles, f"role `{name}` must be there before its database"
        assert name not in self.found, f"database `{name}` exists"
        self.found[name] = DatabaseFact(name, collation or DEFAULT_COLLATION, public=True)

    def close_database(self, password: str, name: str) -> None:
        self._sign_in(password)
        self.found[name] = replace(self.found[name], public=False)

    def _sign_in(self, password: str) -> None:
        if "postgres" not in self.host.engine.made:
            raise HostError("PostgreSQL is not running")
        if password != self.superuser:
            raise StepFailed("PostgreSQL refuses the password of `POSTGRES_PASSWORD`")


class FakeHttp:
    """The services' interfaces, as far as kmuctl asks them; `sent` are the requests that change something."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.sent: list[str] = []
        self.authentik = FakeAuthentik(host)

    def clone(self, host: FakeHost) -> FakeHttp:
        twin = copy.copy(self)
        twin.host, twin.sent, twin.authentik = host, list(self.sent), self.authentik.clone(host)
        return twin

    def ask(self, call: Call) -> Reply:
        assert call.method == "GET"
        return self._answer(call)

    def send(self, call: Call) -> Reply:
        self.sent.append(f"{call.method} {call.path}")
        return self._answer(call)

    def _answer(self, call: Call) -> Reply:
        if call.container not in self.host.engine.made:
            raise HostError(f"`{call.container}` does not answer")
        if (call.container, call.port) == ("authentik-server", 9000):
            return self.authentik.answer(call)
        raise Untaught(f"{call.method} {call.container}:{call.port}{call.path}")


class FakeAuthentik:
    """Applies the blueprints when its worker starts; later ones only when told to."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.folder = self.token = ""
        self.updated = 0
        self.applied: dict[str, tuple[str, int]] = {}
        """Digest and moment by path."""
        self.refuses: dict[str, str] = {}
        """What is wrong with a blueprint, by its path."""
        self.deadlocks = 0
        """How many attempts meet one."""
        self.cut_off = False
        """The LDAP outpost runs, but cannot reach the server."""

    def clone(self, host: FakeHost) -> FakeAuthentik:
        twin = copy.copy(self)
        twin.host, twin.applied, twin.refuses = host, dict(self.applied), dict(self.refuses)
        return twin

    def start(self, folder: str) -> None:
        self.folder = f"{folder}/blueprints"
        variables = dict(
            line.split("=", 1) for line in self.host.text(f"{folder}/authentik/bootstrap.env").splitlines()
        )
        self.token = self.token or variables["AUTHENTIK_BOOTSTRAP_TOKEN"]
        for name in self.host.tree(self.folder):
            self._apply(f"custom/{name}")

    def answer(self, call: Call) -> Reply:
        if call.token is None or call.token.reveal() != self.token:
            return Reply(403, '{"detail": "Token invalid/expired"}')
        if call.path.startswith("/api/v3/outposts/instances/") and call.method == "GET":
            return Reply(200, json.dumps(self._outposts(call.path.split("/")[5:-1])))
        below = call.path.removeprefix("/api/v3/managed/blueprints/")
        if call.method == "GET" and below == "?page_size=100":
            paths = [f"custom/{name}" for name in self.host.tree(self.folder)]
            return Reply(
                200, json.dumps({"results": self._own() + [one for path in paths for one in self._known(path)]})
            )
        if call.method == "GET" and below.startswith("?path="):
            return Reply(200, json.dumps({"results": self._known(unquote(below.removeprefix("?path=")))}))
        if call.method == "POST" and below.endswith("/apply/"):
            self._apply(f"custom/{below.removesuffix('/apply/')}")
            return Reply(200, "{}")
        raise Untaught(f"{call.method} {call.path}")

    def _outposts(self, rest: list[str]) -> Any:
        if not rest:
            return {"results": [{"pk": name, "name": name} for name in ("authentik Embedded Outpost", "ldap")]}
        connected = rest[0] != "ldap" or ("authentik-ldap" in self.host.engine.made and not self.cut_off)
        return [{"uid": rest[0]}] if connected else []

    def _own(self) -> list[dict[str, str]]:
        return [{"name": "Default - Brand", "path": "default/brand.yaml", "last_applied": _at(self.updated)}]

    def _known(self, path: str) -> list[dict[str, str]]:
        if self.host.read(self._file(path)) is None:
            return []
        status = "error" if path in self.refuses else "successful" if path in self.applied else "unknown"
        digest, moment = self.applied.get(path, ("", 0))
        name = path.removeprefix("custom/")
        common = {"pk": name, "name": name, "path": path, "status": status}
        return [{**common, "last_applied_hash": digest, "last_applied": _at(moment)}]

    def complaint(self, path: str) -> str:
        self.deadlocks -= 1
        return "deadlock detected" if self.deadlocks >= 0 else self.refuses.get(path, "")

    def update(self) -> None:
        """A new version brings a new brand blueprint, and applies it."""
        self.updated = self.host.tick()

    def _apply(self, path: str) -> None:
        if path not in self.refuses:
            digest = hashlib.sha512(self.host.read(self._file(path)) or b"").hexdigest()
            self.applied[path] = digest, self.host.tick()

    def _file(self, path: str) -> str:
        return f"{self.folder}/{path.removeprefix('custom/')}"


def _at(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a fresh server looks like to the preflight; a test changes the one thing it is about."""

    user: int = 0
    docker: str = "Docker version 28.3.0, build 1"
    compose: str = "2.38.1\n"
    listeners: str = ""
    routes: list[dict[str, str]] = field(default_factory=lambda: [{"dst": "default", "dev": "eth0"}])
    memory: int = 16384
    disk: int = 102400

    def host(self) -> FakeHost:
        host = FakeHost()
        host.teach("id", "-u", stdout=f"{self.user}\n")
        host.teach("docker", "--version", stdout=self.docker)
        host.teach("docker", "compose", "version", "--short", stdout=self.compose)
        host.teach("ss", "-H", stdout=self.listeners)
        host.teach("ip", "-json", "-4", "route", "show", stdout=json.dumps(self.routes))
        host.teach("df", "-Pk", stdout=f"Filesystem 1024-blocks Used Available\n/dev/a 9 9 {self.disk * 1024} 1% /\n")
        host.write("/proc/meminfo", f"MemTotal:       {self.memory * 1024} kB\nMemFree: 1 kB\n".encode())
        host.write("/var/run/docker.sock", b"")
        return host
