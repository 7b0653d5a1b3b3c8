"""A real Authentik as `kmuctl up` meets it: its API at a URL, its `ak` as a command on this machine."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx

from kmuctl.model.host import Answer, Call, ContainerFact, Reply
from tests.support import stack

URL = os.environ.get("KMU_REAL_AUTHENTIK", "").rstrip("/")
TOKEN = os.environ.get("KMU_REAL_AUTHENTIK_TOKEN", "")
AK = shlex.split(os.environ.get("KMU_REAL_AUTHENTIK_AK", ""))


CONTAINERS = [container.name for container in stack().containers()]


class RealHost:
    """The two doors that the steps of Authentik use, and what went through them; all else is missing."""

    at_once = 6

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.http: Any = SimpleNamespace(ask=self._ask, send=self._send)
        self.engine: Any = SimpleNamespace(containers=self._containers, ask=self._fetch, execute=self._execute)

    def _ask(self, call: Call) -> Reply:
        self.asked.append(call.path)
        return self._exchange(call)

    def _send(self, call: Call) -> Reply:
        self.sent.append(f"{call.method} {call.path}")
        return self._exchange(call)

    def _exchange(self, call: Call) -> Reply:
        assert call.token is not None
        headers = {"Authorization": f"Bearer {call.token.reveal()}"}
        answer = httpx.request(call.method, URL + call.path, headers=headers, json=call.body, timeout=60)
        return Reply(answer.status_code, answer.text)

    def _containers(self, project: str, names: Iterable[str] | None = None) -> dict[str, ContainerFact]:
        return {name: ContainerFact(state="running", health="healthy") for name in names or CONTAINERS}

    def _fetch(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        """What an application's curl gets at the public name: Caddy passes that name on."""
        curl, *_, address = command
        assert curl == "curl"
        parts = urlsplit(address)
        headers = {"Host": parts.netloc, "X-Forwarded-Proto": parts.scheme}
        answer = httpx.get(URL + parts.path, headers=headers, timeout=60)
        return Answer(0, answer.text, "")

    def _execute(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        timeout, limit, ak, *words = command
        assert (timeout, ak) == ("timeout", "ak")
        self.sent.append(" ".join((ak, *words)))
        done = subprocess.run([*AK, *words], capture_output=True, text=True, check=False, timeout=float(limit))
        return Answer(done.returncode, done.stdout, done.stderr)
