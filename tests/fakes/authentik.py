"""Authentik in memory: its blueprints and outposts."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kmuctl.model.host import Answer, Call, Reply
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost


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

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask authentik-worker: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        if command[:-1] == ("ak", "create_recovery_key", "60", "--"):
            known = command[-1] == "mmustermann"
            said = "Store this link safely, as it will allow anyone in.\n/recovery/use-token/k3y/\n"
            return Answer(0, said) if known else Answer(0, "", f"User '{command[-1]}' not found.\n")
        if command[:2] == ("ak", "apply_blueprint"):
            refusal = self.complaint(command[2])
            return Answer(1, "", f"Blueprint invalid\n{refusal}\n") if refusal else Answer(0, "")
        raise Untaught(f"execute authentik-worker: {' '.join(command)}")

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
