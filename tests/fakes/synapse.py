"""Synapse in memory: who is registered, and who may ask its administration interface."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from kmuctl.model.host import Answer, Call, Reply
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

ADMINISTRATION = "/_synapse/admin/v1/"


class FakeSynapse:
    """Reads its token and its shared secret when it starts."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.token = self.shared = self.domain = ""
        self.users: dict[str, bool] = {}
        """Whether they are administrators, by their full id."""

    def clone(self, host: FakeHost) -> FakeSynapse:
        twin = copy.copy(self)
        twin.host, twin.users = host, dict(self.users)
        return twin

    def start(self, folder: str) -> None:
        registration = self.host.text(f"{folder}/synapse/kmuctl.yaml")
        [self.token] = re.findall(r"^as_token: (\S+)$", registration, re.MULTILINE)
        self.shared = self.host.text(f"{folder}/secrets/synapse/synapse_registration_secret")
        [self.domain] = re.findall(r'^server_name: "(.*)"$', self.host.text(f"{folder}/synapse/homeserver.yaml"), re.M)

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask synapse: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"execute synapse: {' '.join(command)}")

    def answer(self, call: Call) -> Reply:
        if call.path == "/_matrix/client/versions":
            return _reply(200, versions=["v1.18"])
        address = urlsplit(call.path)
        below = unquote(address.path.removeprefix(ADMINISTRATION))
        if below == "register":
            return _reply(200, nonce="a nonce") if call.method == "GET" else self._register(call.body)
        caller = parse_qs(address.query).get("user_id", [""])[0]
        if call.token is None or call.token.reveal() != self.token:
            return _reply(401, errcode="M_UNKNOWN_TOKEN", error="Invalid access token passed.")
        if not self.users.get(caller):
            return _reply(403, errcode="M_FORBIDDEN", error=f"{caller} is not registered, or no administrator")
        if call.method == "GET" and (asked := re.fullmatch(r"users/(@[^/]+)/admin", below)):
            return _reply(200, admin=self.users[asked[1]])
        raise Untaught(f"{call.method} {call.path}")

    def _register(self, body: dict[str, object]) -> Reply:
        user = f"@{body['username']}:{self.domain}"
        signed = "\0".join((str(body["nonce"]), str(body["username"]), str(body["password"]), "admin")).encode()
        if not hmac.compare_digest(hmac.new(self.shared.encode(), signed, hashlib.sha1).hexdigest(), str(body["mac"])):
            return _reply(403, errcode="M_UNKNOWN", error="HMAC incorrect")
        if user in self.users:
            return _reply(400, errcode="M_USER_IN_USE", error="User ID already taken.")
        self.users[user] = body["admin"] is True
        return _reply(200, user_id=user, home_server=self.domain)


def _reply(status: int, **said: object) -> Reply:
    return Reply(status, json.dumps(said))
