"""Stalwart in memory: the objects of its registry that certificates and DNS are about."""

from __future__ import annotations

import copy
import json
import posixpath
from typing import TYPE_CHECKING, Any

from kmuctl.model.host import Answer, Call, Door, Reply
from kmuctl.operations.certificates import serial
from tests.fakes.tls import SELF_SIGNED
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

KEY = "API_fake"
Tables = dict[str, dict[str, dict[str, Any]]]
DOORS = {(993, ""), (465, ""), (587, "smtp"), (25, "smtp")}


class FakeStalwart:
    """Shows the certificate that its registry named when it started or was told to load them."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.folder = ""
        self.shown = SELF_SIGNED
        self.rows: Tables = {"Domain": {}, "DkimSignature": {}, "Certificate": {}, "SystemSettings": {"singleton": {}}}

    def clone(self, host: FakeHost) -> FakeStalwart:
        twin = copy.copy(self)
        twin.host, twin.rows = host, copy.deepcopy(self.rows)
        return twin

    def start(self, folder: str) -> None:
        self.folder = posixpath.normpath(f"{folder}/..")
        if self.host.read(f"{self.folder}/state/stalwart.key") is None:
            self.host.write(f"{self.folder}/state/stalwart.key", KEY.encode(), mode=0o600)
        self._load()

    def _load(self) -> None:
        """An expired certificate would go; who must see that says so in the rows."""
        default = self.rows["SystemSettings"]["singleton"].get("defaultCertificateId")
        row = self.rows["Certificate"].get(default) if default else None
        content = self.host.read(self._file(row)) if row else None
        self.shown = serial(content) if content else SELF_SIGNED

    def _file(self, row: dict[str, Any]) -> str:
        path: str = row["certificate"]["filePath"]
        return path.replace("/certs/", f"{self.folder}/data/stalwart/certs/")

    def serial(self, door: Door) -> int:
        assert (door.port, door.starttls) in DOORS
        return self.shown

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask stalwart: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"execute stalwart: {' '.join(command)}")

    def answer(self, call: Call) -> Reply:
        if call.token is None or call.token.reveal() != KEY:
            return Reply(401, '{"title": "Unauthorized"}')
        assert (call.method, call.path) == ("POST", "/jmap")
        return Reply(200, json.dumps({"methodResponses": [self._method(*item) for item in call.body["methodCalls"]]}))

    def _method(self, method: str, arguments: dict[str, Any], tag: str) -> list[Any]:
        name, verb = method.removeprefix("x:").split("/")
        if name == "Action":
            return [method, self._act(arguments), tag]
        if name not in self.rows:
            raise Untaught(method)
        return [method, {"get": self._get, "query": self._query, "set": self._set}[verb](name, arguments), tag]

    def _act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        [(key, body)] = arguments["create"].items()
        assert body == {"@type": "ReloadTlsCertificates"}
        self._load()
        return {"created": {key: {"id": "a1"}}}

    def _get(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        wanted = arguments["ids"]
        return {
            "list": [{"id": key, **row} for key, row in self.rows[name].items() if wanted is None or key in wanted],
            "notFound": [],
        }

    def _query(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        wanted = arguments["filter"].items()
        return {"ids": [key for key, row in self.rows[name].items() if wanted <= row.items()]}

    def _set(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for client, body in arguments.get("create", {}).items():
            if self.host.read(self._file(body)) is None:
                reason = {"type": "invalidProperties", "properties": ["certificate"], "description": "No such file"}
                return {"notCreated": {client: reason}}
            key = f"{name.lower()}{self.host.tick()}"
            self.rows[name][key] = dict(body)
            answer.setdefault("created", {})[client] = {"id": key}
        for key, patch in arguments.get("update", {}).items():
            self.rows[name][key] |= patch
            answer.setdefault("updated", {})[key] = None
        return answer
