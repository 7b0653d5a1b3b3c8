"""Stalwart in memory: the registry of the lab's double, which refuses what the schema refuses, without its server."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kmuctl.model.host import Answer, Call, Door, Reply
from kmuctl.operations.certificates import serial
from tests.fakes.tls import SELF_SIGNED
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

sys.path.append(str(Path(__file__).parents[1] / "lab/images/stalwart"))

from stalwart_double import defaults, registry, schema, server  # type: ignore[import-not-found]
from stalwart_double.keyring import Keyring  # type: ignore[import-not-found]
from stalwart_double.store import MemoryStore  # type: ignore[import-not-found]

DOORS = {(993, ""), (465, ""), (587, "smtp"), (25, "smtp")}


class _Registry(registry.Registry):  # type: ignore[misc]
    """Secret files lie in the container, which is not there."""

    refused: dict[str, str] = {}  # noqa: RUF012 (filled by each service)

    def build_errors(self) -> list[str]:
        return []

    def update(self, name: str, key: str, patch: Any) -> None:
        if name in self.refused:
            raise schema.failed(next(iter(patch)), self.refused[name], self.refused[name])
        super().update(name, key, patch)


class _Keyring(Keyring):  # type: ignore[misc]
    """Files lie on the host in memory; instead of a handshake a serial number is all that is asked for."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.contexts: dict[str, int] = {}

    def content(self, path: str) -> str:
        folder = self.host.engine.made["stalwart"].folder.removesuffix("rendered")
        content = self.host.read(path.replace("/certs/", f"{folder}data/stalwart/certs/"))
        if content is None:
            raise FileNotFoundError(2, "No such file or directory")
        return content.decode()

    def served(self, key: str, row: Any, text: str) -> int:
        return serial(text.encode())


class _Service(server.Service):  # type: ignore[misc]
    refused: dict[str, str] = {}  # noqa: RUF012 (see above)

    def registry(self, tables: Any) -> Any:
        made = _Registry(tables, keyring=self.keyring)
        made.refused = self.refused
        return made


BIND = "authentik_ldap_bind_password"


class FakeStalwart:
    def __init__(self, host: FakeHost) -> None:
        self.host, self.folder = host, ""
        self.service = _Service(MemoryStore(), keyring=_Keyring(host))
        self.directory: Literal["", "empty", "closed"] = ""
        """It finds nobody, until the outpost forgets who asked or for ever."""

    def clone(self, host: FakeHost) -> FakeStalwart:
        twin = FakeStalwart(host)
        twin.service.store._saved = dict(self.service.store._saved)
        twin.service.recovery_admin, twin.service.refused = self.service.recovery_admin, dict(self.service.refused)
        twin.directory, twin.folder = self.directory, self.folder
        twin.service.keyring.contexts = dict(self.service.keyring.contexts)
        twin.service.reload()
        return twin

    def shown(self, name: str = "*") -> int:
        """The serial of the certificate that it serves for a name."""
        contexts = self.service.keyring.contexts
        found: int = contexts.get(name) or contexts.get("*") or SELF_SIGNED
        return found

    def serial(self, door: Door) -> int:
        assert (door.port, door.starttls) in DOORS
        return self.shown(door.name)

    def reconnected(self) -> None:
        if self.directory == "empty":
            self.directory = ""

    def forget(self) -> None:
        """Its database is a new one."""
        self.service.store = MemoryStore()

    def start(self, folder: str) -> None:
        self.folder = folder
        environment = self.host.engine.made["stalwart"].definition["environment"]
        self.service.recovery_admin = environment.get("STALWART_RECOVERY_ADMIN", "")
        with self.service.store.transaction() as tables:
            defaults.insert(self.service.registry(tables))
            self.service.keyring.load(tables)
        self.service.reload()

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask stalwart: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"execute stalwart: {' '.join(command)}")

    def answer(self, call: Call) -> Reply:
        with self.service.store.transaction() as tables:
            person = call.user is not None and "@" in call.user[0]
            if person and self._refused_by_directory():
                return Reply(500, '{"title": "Internal Server Error"}')
            authorization = _authorization(call)
            caller = self._person(call) if person else server.identify(self.service, tables, authorization)
            if caller is None:
                return Reply(401, '{"title": "Unauthorized"}')
            if (call.method, call.path) == ("GET", "/jmap/session"):
                return Reply(200, json.dumps(server.session_document(self.service, caller)))
            if (call.method, call.path) != ("POST", "/jmap"):
                raise Untaught(f"{call.method} {call.path}")
            answer, reloaded = server.run_request(self.service, tables, caller, call.body)
        if reloaded:
            self.service.reload()
        return Reply(200, json.dumps(answer))

    def _refused_by_directory(self) -> bool:
        """The password that Stalwart binds with is not the one that Authentik knows."""
        token = self.host.http.authentik.objects.the("authentik_core.token", identifier="ldapservice-bind")
        return bool(token.get("key", "") != self.host.text(f"{self.folder}/secrets/stalwart/{BIND}"))

    def _person(self, call: Call) -> Any:
        """Somebody of the directory, as Authentik has it."""
        if call.user is None or self.directory:
            return None
        token = self.host.http.authentik.objects.the("authentik_core.token", identifier="noreply-mail")
        known = token.get("key") == call.user[1].reveal() and call.user[0].startswith("noreply@")
        return server.Caller(call.user[0], None, False) if known else None

    def change(self, name: str, **arguments: Any) -> Any:
        """What somebody does by hand."""
        with self.service.store.transaction() as tables:
            found = self.service.registry(tables)
            for body in arguments.get("create", ()):
                found.create(f"x:{name}", body, None)
            for key, patch in arguments.get("update", {}).items():
                found.update(f"x:{name}", key, patch)
            for key in arguments.get("destroy", ()):
                found.destroy(f"x:{name}", key)

    def refuse(self, name: str, reason: str) -> None:
        """Objects of this type cannot be changed any more."""
        self.service.refused = {**self.service.refused, name: reason}

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        with self.service.store.transaction() as tables:
            found: dict[str, dict[str, Any]] = tables.get(f"x:{name}", {})
        return found


def _authorization(call: Call) -> str:
    if call.token:
        return f"Bearer {call.token.reveal()}"
    user, password = call.user or ("", None)
    return "Basic " + b64encode(f"{user}:{password.reveal() if password else ''}".encode()).decode()
