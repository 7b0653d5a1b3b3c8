"""Authentik's API, asked with the token of its bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Call, Host, Reader, Reply
from kmuctl.model.secrets import Secret
from kmuctl.model.step import Drift, unseen
from kmuctl.operations.containers import serving

SERVER, WORKER, PORT = "authentik-server", "authentik-worker", 9000
PAGE = 100
"""The most that Authentik gives at once."""
Row: TypeAlias = dict[str, Any]


def not_serving(host: Reader) -> Drift | None:
    return None if serving(host, SERVER, WORKER) else unseen("Authentik")


@dataclass(frozen=True, slots=True)
class Api:
    token: Secret

    def welcome(self, host: Reader) -> bool:
        """Whether Authentik knows the token."""
        reply = host.http.ask(self._call("core/users/me/"))
        return reply.status not in (401, 403) and _content(reply) is not None

    def get(self, host: Reader, path: str, *keys: str) -> Any:
        """What it answers; an object with these keys, when some are given."""
        return _content(host.http.ask(self._call(path)), *keys)

    def rows(self, host: Reader, path: str) -> list[Row]:
        """All objects of a list, page by page."""
        return [row for page in self._pages(host, path) for row in page["results"]]

    def send(self, host: Host, method: str, path: str, body: Row | None = None) -> Any:
        return _content(host.http.send(self._call(path, method, body)))

    def _pages(self, host: Reader, path: str) -> Iterator[Any]:
        number = 1
        while number:
            more = f"&page={number}" if number > 1 else ""
            page = self.get(host, f"{path}{_joint(path)}page_size={PAGE}{more}", "results", "pagination")
            yield page
            number = page["pagination"]["next"]

    def _call(self, path: str, method: str = "GET", body: Row | None = None) -> Call:
        return Call(
            container=SERVER, port=PORT, path=f"/api/v3/{path}", method=method, token=self.token, body=body
        )  # fmt: skip


def _joint(path: str) -> str:
    return "&" if "?" in path else "?"


def _content(reply: Reply, *keys: str) -> Any:
    if reply.status in (401, 403):
        raise StepFailed(
            "Authentik refuses `AUTHENTIK_BOOTSTRAP_TOKEN`",
            hint="it is read only before the first start: put the secrets file back from your backup; or, if somebody "
            "removed it in Authentik, make the token `authentik-bootstrap-token` of `akadmin` again with this key",
        )
    if reply.status >= 400:
        raise StepFailed(f"Authentik answers {reply.status}: {reply.said}")
    return reply.json(*keys) if reply.text or keys else None
