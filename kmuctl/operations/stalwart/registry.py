"""Stalwart's registry of settings over JMAP (upstream/stalwart.md 3): read, write, and what it says when it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Call, Host, Reader, Reply
from kmuctl.model.secrets import Secret
from kmuctl.model.stack import Stack

CONTAINER, PORT = "stalwart", 8080
USING = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]
REFUSALS = ("notCreated", "notUpdated", "notDestroyed")
SINGLETON = ["singleton"]
"""The id of the one object of its type; asked for all of them, Stalwart leaves it out."""
INSIDE = {"X-Forwarded-For": "127.0.0.1"}
"""Spoken from within: it warns of requests without the header, and counts no loopback address against its limits."""
CALLS = 16
"""How many methods one request may hold."""
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
        return known(self.session(host))

    def session(self, host: Reader) -> Reply:
        return host.http.ask(replace(self._call([]), method="GET", path="/jmap/session", body=None))

    def all(self, host: Reader, wanted: Mapping[str, list[str] | None]) -> dict[str, list[Row]]:
        """The rows of several types in few requests, those of the given ids or (None) all."""
        names, found = sorted(wanted), dict[str, list[Row]]()
        for start in range(0, len(names), CALLS):
            some = names[start : start + CALLS]
            calls = [(f"{name}/get", {"ids": wanted[name]}) for name in some]
            answers = self._answers(host.http.ask(self._call(calls)))
            found |= {name: _content(answer, name)["list"] for name, answer in zip(some, answers, strict=True)}
        return found

    def rows(self, host: Reader, name: str, **arguments: Any) -> list[Row]:
        """The objects of a type, all (at most 500) unless `ids` names some; a singleton's one is named so.

        `properties` limits what is told of each; keys and app passwords are those of `accountId`.
        """
        found: list[Row] = self._ask(host, name, "get", {"ids": None, **arguments})["list"]
        return found

    def find(self, host: Reader, name: str, wanted: Mapping[str, Any]) -> list[Row]:
        """The objects that Stalwart itself finds by a filter; for types of which there may be many."""
        ids: list[str] = self._ask(host, name, "query", {"filter": dict(wanted)})["ids"]
        return self.rows(host, name, ids=ids) if ids else []

    def change(self, host: Host, name: str, **arguments: Any) -> Row:
        """`create` {any: body}, `update` {id: patch}, `destroy` [ids]. Raises StepFailed with what it refuses."""
        [answer] = self._answers(host.http.send(self._call([(f"{name}/set", arguments)])))
        return _content(answer, name)

    def _ask(self, host: Reader, name: str, verb: str, arguments: Row) -> Row:
        [answer] = self._answers(host.http.ask(self._call([(f"{name}/{verb}", arguments)])))
        return _content(answer, name)

    def _call(self, methods: Iterable[tuple[str, Row]]) -> Call:
        body = {"using": USING, "methodCalls": [[f"x:{method}", arguments, "0"] for method, arguments in methods]}
        return Call(
            container=CONTAINER, port=PORT, path="/jmap", method="POST", headers=INSIDE, token=self.key,
            user=self.user, body=body,
        )  # fmt: skip

    def _answers(self, reply: Reply) -> list[Any]:
        if reply.status == 401:
            raise StepFailed("Stalwart refuses kmuctl's key", hint="run `kmuctl up`: it makes a new one")
        if reply.status >= 400:
            raise StepFailed(f"Stalwart answers {reply.status}: {reply.said}")
        answers: list[Any] = reply.json("methodResponses")["methodResponses"]
        return answers


def known(session: Reply) -> bool:
    """Whether a session was given; raises StepFailed when it is neither given nor refused."""
    if session.status >= 400 and session.status != 401:
        raise StepFailed(f"Stalwart answers {session.status}: {session.said}")
    return session.status < 400


def _content(answer: Any, name: str) -> Row:
    method, content, _ = answer
    if method == "error":
        raise StepFailed(f"Stalwart refuses {name}: {content.get('description') or content['type']}")
    if refused := [refusal for kind in REFUSALS for refusal in (content.get(kind) or {}).items()]:
        raise StepFailed(f"Stalwart refuses {name}: " + "; ".join(_reason(*refusal) for refusal in refused))
    return dict(content)


def _reason(which: str, refusal: Row) -> str:
    """`validationErrors` name properties; the rest says it in words."""
    errors = [f"{error['property']}: {error['type']}" for error in refusal.get("validationErrors") or ()]
    said = refusal.get("description") or refusal["type"]
    where = refusal.get("properties") or ([refusal["objectId"]["object"]] if refusal.get("objectId") else [])
    return f"`{which}`: " + (", ".join(errors) or f"{said}" + (f" ({', '.join(where)})" if where else ""))
