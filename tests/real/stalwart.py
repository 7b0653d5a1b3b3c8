"""A real Stalwart as the steps of `kmuctl up` meet it: its interface at a URL."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import httpx

from kmuctl.model.host import Call, Reply
from kmuctl.model.secrets import Secret

URL = os.environ.get("KMU_REAL_STALWART", "").rstrip("/")
ADMIN = os.environ.get("KMU_REAL_STALWART_ADMIN", "")


def admin() -> tuple[str, Secret]:
    name, _, password = ADMIN.partition(":")
    return name, Secret(password)


class RealHost:
    """`sent` are the methods that changed something."""

    at_once = 6

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.http: Any = SimpleNamespace(ask=self._exchange, send=self._send)

    def _send(self, call: Call) -> Reply:
        self.sent += [method for method, _, _ in call.body["methodCalls"]]
        return self._exchange(call)

    def _exchange(self, call: Call) -> Reply:
        headers = {**call.headers, **({"Authorization": f"Bearer {call.token.reveal()}"} if call.token else {})}
        sign_in = (call.user[0], call.user[1].reveal()) if call.user else None
        answer = httpx.request(
            call.method, URL + call.path, headers=headers, auth=sign_in, json=call.body, timeout=60, trust_env=False
        )
        return Reply(answer.status_code, answer.text)
