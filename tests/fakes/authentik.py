"""Authentik in memory: its blueprints, the objects that they make, and its outposts."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kmuctl.model.host import Answer, Call, Reply
from kmuctl.operations.authentik.people import PEOPLE
from kmuctl.operations.authentik.settings import LISTS
from kmuctl.operations.authentik.upstream import COLLIDING, TASKS
from tests.fakes.authentik_objects import Objects
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

MODELS = {path: model for model, path in LISTS.items()}
BLUEPRINTS = "managed/blueprints/"


class FakeAuthentik:
    """Applies the blueprints when its worker starts; later ones only when told to."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.folder = self.token = self.akadmin = ""
        self.updated = 0
        self.applied: dict[str, tuple[str, int]] = {}
        """Digest and moment by path."""
        self.refuses: dict[str, str] = {}
        """What is wrong with a blueprint, by its path."""
        self.deadlocks = 0
        """How many attempts meet one."""
        self.cut_off = False
        """The LDAP outpost runs, but cannot reach the server."""
        self.disabled = set[str]()
        """Blueprints that it does not apply by itself, nor when its worker is asked to."""
        self.undiscovered = self.busy = 0
        """For how many more looks its worker has not begun, or is applying some."""
        self.hurried = 0
        """How often the worker is too busy to say whether a path exists."""
        self.endless = False
        """Applying a blueprint by its command never ends."""
        self.versions = ""
        """What it says of them instead of the truth."""
        self.issuer = ""
        """Whom its discovery documents name instead of itself."""
        self.retrying = False
        """A task has failed, and waits for its next attempt."""
        self.people: dict[int, dict[str, Any]] = {}
        """Members of kmu-users by their keys."""
        self.objects = Objects(self._secret)

    def clone(self, host: FakeHost) -> FakeAuthentik:
        twin = copy.copy(self)
        twin.host, twin.applied, twin.refuses = host, dict(self.applied), dict(self.refuses)
        twin.people = copy.deepcopy(self.people)
        twin.disabled, twin.objects = set(self.disabled), self.objects.clone(twin._secret)
        return twin

    def start(self, folder: str) -> None:
        self.folder = f"{folder}/blueprints"
        variables = dict(
            line.split("=", 1) for line in self.host.text(f"{folder}/authentik/bootstrap.env").splitlines()
        )
        self.token = self.token or variables["AUTHENTIK_BOOTSTRAP_TOKEN"]
        for name in self.host.tree(self.folder):
            self._apply(f"custom/{name}")

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask authentik-worker: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        if command[:-1] == ("ak", "create_recovery_key", "60", "--"):
            known = command[-1] == "mmustermann"
            said = "Store this link safely, as it will allow anyone in.\n/recovery/use-token/k3y/\n"
            return Answer(0, said) if known else Answer(0, "", f"User '{command[-1]}' not found.\n")
        if command[:4] == ("timeout", "600", "ak", "apply_blueprint"):
            if self.endless:
                return Answer(124, "")
            refusal = self.complaint(command[4])
            if not refusal:
                self.objects.apply(self._text(command[4]))
            return Answer(1, "", f"{refusal}\n") if refusal else Answer(0, "")
        raise Untaught(f"execute authentik-worker: {' '.join(command)}")

    def discover(self, address: str) -> Answer:
        """As curl shows it; the document names where it was asked for."""
        issuer = address.removesuffix(".well-known/openid-configuration")
        applications = self.objects.rows.get("authentik_core.application", [])
        known = issuer.split("/")[-2] in {row["slug"] for row in applications}
        return Answer(0, json.dumps({"issuer": self.issuer or issuer} if known else {}))

    def answer(self, call: Call) -> Reply:
        if call.token is None or call.token.reveal() != self.token:
            return Reply(403, '{"detail": "Token invalid/expired"}')
        path = call.path.removeprefix("/api/v3/")
        if call.method == "GET":
            return Reply(200, json.dumps(self._get(path)))
        if call.method == "POST" and path.startswith(BLUEPRINTS) and path.endswith("/apply/"):
            self._apply(self._path(path.split("/")[2]))
            return Reply(200, "{}")
        if call.method == "PATCH" and path.startswith(BLUEPRINTS) and call.body.keys() == {"enabled", "path"}:
            return self._switch(unquote(path.split("/")[2]), **call.body)
        if (call.method, path) == ("POST", "core/tokens/authentik-bootstrap-token/set_key/"):
            self.token = call.body["key"]
            return Reply(204, "")
        if call.method == "PATCH" and path.startswith("core/users/") and call.body.keys() == {"email"}:
            self.people[int(path.split("/")[2])]["email"] = call.body["email"]
            return Reply(200, "{}")
        if (call.method, path) == ("POST", "core/users/1/set_password/"):
            self.akadmin = call.body["password"]
            return Reply(204, "")
        raise Untaught(f"{call.method} {call.path} {call.body}")

    def _switch(self, key: str, *, enabled: bool, path: str) -> Reply:
        assert path == self._path(key), "a change of the path"
        self.hurried -= 1
        if self.hurried >= 0:
            return Reply(405, "")
        (self.disabled.discard if enabled else self.disabled.add)(path)
        return Reply(200, "{}")

    def _get(self, path: str) -> Any:
        if path.startswith("outposts/instances/") and path.endswith("/health/"):
            return self._health(unquote(path.split("/")[2]))
        if path == "core/users/me/":
            return {"user": {"username": "akadmin"}}
        if path == "admin/version/history/" and self.versions:
            return json.loads(self.versions)
        if path == "admin/version/history/":
            return [
                {"timestamp": _at(0), "version": "2026.8.5"},
                {"timestamp": _at(self.updated), "version": "2026.8.6"},
            ]
        for joint in "?&":
            listed, found, query = path.partition(f"{joint}page_size=100")
            if found and not query:
                return {"results": self._rows(listed), "pagination": {"next": 0}}
        raise Untaught(f"GET {path}")

    def _rows(self, listed: str) -> list[dict[str, Any]]:
        if listed == BLUEPRINTS:
            self.undiscovered -= 1
            ours = [row for name in self.host.tree(self.folder) for row in self._known(f"custom/{name}")]
            return ours + [self._own(path) for path in COLLIDING]
        if listed.startswith(f"{BLUEPRINTS}?path="):
            return self._known(unquote(listed.partition("=")[2]))
        if listed == "core/users/?username=akadmin":
            return [{"pk": 1, "username": "akadmin"}]
        if listed == PEOPLE:
            return [*self.people.values()]
        if listed == TASKS:
            self.busy -= 1
            return [{"retries": 0}] * (self.busy >= 0) + [{"retries": 3}] * self.retrying
        if listed in MODELS:
            return self._shown(MODELS[listed])
        raise Untaught(f"GET {listed}")

    def _shown(self, model: str) -> list[dict[str, Any]]:
        """The key of a token is not for everybody's eyes."""
        return [{key: value for key, value in row.items() if key != "key"} for row in self.objects.rows.get(model, [])]

    def _health(self, key: str) -> Any:
        ldap = self.objects.the("authentik_outposts.outpost", name="ldap")["pk"]
        connected = key != ldap or ("authentik-ldap" in self.host.engine.made and not self.cut_off)
        return [{"uid": key}] if connected else []

    def _own(self, path: str) -> dict[str, Any]:
        name = {"default/default-brand.yaml": "Default - Brand"}.get(path, path)
        common = {"pk": path.replace("/", "%2F"), "name": name, "path": path, "last_applied_hash": ""}
        status = "successful" if self.undiscovered < 0 else "unknown"
        return {**common, "status": status, "enabled": path not in self.disabled}

    def _known(self, path: str) -> list[dict[str, Any]]:
        if self.host.read(self._file(path)) is None:
            return []
        status = "error" if path in self.refuses else "successful" if path in self.applied else "unknown"
        digest, moment = self.applied.get(path, ("", 0))
        name = path.removeprefix("custom/")
        common = {"pk": name, "name": name, "path": path, "status": status, "enabled": path not in self.disabled}
        return [{**common, "last_applied_hash": digest, "last_applied": _at(moment)}]

    def complaint(self, path: str) -> str:
        self.deadlocks -= 1
        return "deadlock detected" if self.deadlocks >= 0 else self.refuses.get(path, "")

    def update(self) -> None:
        """A new version, by its own word."""
        self.updated = self.host.tick()

    def _path(self, key: str) -> str:
        """Of ours the key is the file's name."""
        return key if key in COLLIDING else f"custom/{key}"

    def _apply(self, path: str) -> None:
        if path not in {*self.refuses, *self.disabled}:
            text = self._text(path)
            self.applied[path] = hashlib.sha512(text.encode()).hexdigest(), self.host.tick()
            self.objects.apply(text)

    def _text(self, path: str) -> str:
        return (self.host.read(self._file(path)) or b"").decode()

    def _file(self, path: str) -> str:
        return f"{self.folder}/{path.removeprefix('custom/')}"

    def _secret(self, name: str) -> str:
        return self.host.text(f"{self.folder}/../secrets/authentik-worker/{name}".replace("blueprints/../", ""))


def _at(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
