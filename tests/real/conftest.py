"""What the tests against a real Authentik share: its API, people who come and go, and a place where mail arrives."""

from __future__ import annotations

import os
import re
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.real.host import AK, TOKEN, URL
from tests.real.prepare import rendered

SMTP = os.environ.get("KMU_REAL_AUTHENTIK_SMTP", "")
CUSTOM = os.environ.get("KMU_REAL_AUTHENTIK_BLUEPRINTS", "")
LDAP = os.environ.get("KMU_REAL_AUTHENTIK_LDAP", "")
PASSWORD = "Regenbogen-Fahrrad-17"


def needs(value: object, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not value, reason=f"{name} is not set (tests/real/README.md)")


needs_ak, needs_custom, needs_ldap, needs_smtp = (
    needs(AK, "KMU_REAL_AUTHENTIK_AK"),
    needs(CUSTOM, "KMU_REAL_AUTHENTIK_BLUEPRINTS"),
    needs(LDAP, "KMU_REAL_AUTHENTIK_LDAP"),
    needs(SMTP, "KMU_REAL_AUTHENTIK_SMTP"),
)


def ask(path: str, method: str = "GET", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.request(method, f"{URL}/api/v3/{path}", headers=headers, timeout=120, **options)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.text else None


def the(path: str) -> Any:
    [row] = ask(path)["results"]
    return row


@dataclass(frozen=True)
class Person:
    key: int
    username: str
    mail: str
    password: str = PASSWORD


@pytest.fixture
def people() -> Iterator[Any]:
    """Makes persons; all are gone afterwards."""
    made: list[int] = []

    def make(*groups: str, **attributes: Any) -> Person:
        name = f"real-{uuid4().hex[:8]}"
        keys = [the(f"core/groups/?name={group}")["pk"] for group in groups]
        body = {"username": name, "name": f"Real {name}", "email": f"{name}@kmu.test", "groups": keys}
        key = ask("core/users/", "POST", json={**body, "attributes": attributes})["pk"]
        made.append(key)
        ask(f"core/users/{key}/set_password/", "POST", json={"password": PASSWORD})
        return Person(key, name, f"{name}@kmu.test")

    yield make
    for key in made:
        ask(f"core/users/{key}/", "DELETE")


def _entries(mfa: str) -> list[str]:
    """What stands before the first, then each."""
    return re.split(r"(?m)^(?=  - model:)", rendered(mfa).files["blueprints/10-base.yaml"].content.decode())


def bring_in(mfa: str) -> None:
    """The entries that this setting changes, applied at once by the server itself: it has a minute for a request."""
    other = _entries({"optional": "required", "required": "optional"}[mfa])
    head, *ours = _entries(mfa)
    content = head + "".join(entry for entry in ours if entry not in other)
    reply = ask("managed/blueprints/import/", "POST", files={"file": ("10-base.yaml", content)})
    assert reply["success"], reply["logs"]


@pytest.fixture
def second_factor_required() -> Iterator[None]:
    bring_in("required")
    yield
    bring_in("optional")


class Postbox(socketserver.ThreadingTCPServer):
    """Takes every message."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Delivery)
        self.messages: list[EmailMessage] = []
        self.arrived = threading.Event()


class Delivery(socketserver.StreamRequestHandler):
    server: Postbox

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def handle(self) -> None:
        self.say("220 postbox")
        while (line := self.rfile.readline().strip().upper()) and line != b"QUIT":
            if line == b"DATA":
                self.say("354 go on")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                message = message_from_bytes(content, policy=policy.default)
                assert isinstance(message, EmailMessage)
                self.server.messages.append(message)
                self.server.arrived.set()
            self.say("250 good")


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    with Postbox(int(SMTP)) as box:
        threading.Thread(target=box.serve_forever, daemon=True).start()
        yield box
        box.shutdown()
