"""Stalwart's registry of settings over JMAP (upstream/stalwart.md 3): read, write, and what it says when it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Call, Host, Reader, Reply
from kmuctl.model.secrets import Secret
from kmuctl.model.stack import Stack

CONTAINER, PORT = "stalwart", 8080
USING = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]
REFUSALS = ("notCreated", "notUpdated", "notDestroyed")
INSIDE = {"X-Forwarded-For": "127.0.0.1"}
"""Spoken from within: it warns of requests without the header, and counts no loopback address against its limits."""
Row: TypeAlias = dict[str, Any]


def key_file(stack: Stack) -> str:
    """Where kmuctl keeps its key to the registry; one that is lost is replaced by `up`."""
    return f"{stack.folder}/state/stalwart.key"


def known_key(stack: Stack, host: Reader) -> Secret | None:
    content = host.read(key_file(stack))
    return Secret(content.decode().strip()) if content and content.strip() else None


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry as one caller sees it: kmuctl's key, or the recovery administrator."""

    key: Secret | None = None
    user: tuple[str, Secret] | None = None

    def welcome(self, host: Reader) -> bool:
        """Whether Stalwart knows the caller."""
        reply = host.http.ask(replace(self._call({}), method="GET", path="/jmap/session", body=None))
        if reply.status >= 400 and reply.status != 401:
            raise StepFailed(f"Stalwart answers {reply.status}: {reply.text[:200]}")
        return reply.status < 400

    def rows(
        self, host: Reader, name: str, *, ids: list[str] | None = None, fields: list[str] | None = None
    ) -> list[Row]:
        """All objects of a type without a name of their own in JMAP; of a singleton its one. At most 500."""
        arguments: Row = {"ids": ids} | ({"properties": fields} if fields else {})
        found: list[Row] = self._answer(host.http.ask(self._call({f"x:{name}/get": arguments})), name)["list"]
        return found

    def find(self, host: Reader, name: str, wanted: Mapping[str, Any]) -> list[Row]:
        """The objects that Stalwart itself finds by a filter; for types of which there may be many."""
        reply = host.http.ask(self._call({f"x:{name}/query": {"filter": dict(wanted)}}))
        ids: list[str] = self._answer(reply, name)["ids"]
        return self.rows(host, name, ids=ids) if ids else []

    def change(self, host: Host, name: str, **arguments: Any) -> Row:
        """`create` {any: body}, `update` {id: patch}, `destroy` [ids]. Raises StepFailed with what it refuses."""
        return self._answer(host.http.send(self._call({f"x:{name}/set": arguments})), name)

    def _call(self, methods: Mapping[str, Any]) -> Call:
        body = {"using": USING, "methodCalls": [[method, arguments, "0"] for method, arguments in methods.items()]}
        return Call(
            container=CONTAINER, port=PORT, path="/jmap", method="POST", headers=INSIDE, token=self.key,
            user=self.user, body=body,
        )  # fmt: skip

    def _answer(self, reply: Reply, name: str) -> Row:
        if reply.status == 401:
            raise StepFailed("Stalwart refuses kmuctl's key", hint="run `kmuctl up`: it makes a new one")
        if reply.status >= 400:
            raise StepFailed(f"Stalwart answers {reply.status}: {reply.text[:200]}")
        method, answer, _ = reply.json()["methodResponses"][0]
        if method == "error":
            raise StepFailed(f"Stalwart refuses {name}: {answer.get('description') or answer['type']}")
        if refused := [refusal for kind in REFUSALS for refusal in (answer.get(kind) or {}).items()]:
            raise StepFailed(f"Stalwart refuses {name}: " + "; ".join(_reason(*refusal) for refusal in refused))
        return dict(answer)


def _reason(which: str, refusal: Row) -> str:
    """`validationErrors` name properties; the rest says it in words."""
    errors = [f"{error['property']}: {error['type']}" for error in refusal.get("validationErrors") or ()]
    said = refusal.get("description") or refusal["type"]
    where = refusal.get("properties") or ([refusal["objectId"]["object"]] if refusal.get("objectId") else [])
    return f"`{which}`: " + (", ".join(errors) or f"{said}" + (f" ({', '.join(where)})" if where else ""))
