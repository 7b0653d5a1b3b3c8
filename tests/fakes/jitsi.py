"""Prosody's accounts in files, as 13.0 keeps them, and the two parts of Jitsi that sign in with them."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from kmuctl.model.host import Answer
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

VARIABLES = {"focus": "JICOFO_AUTH_PASSWORD", "jvb": "JVB_AUTH_PASSWORD"}
ROUNDS = 10


def keys(password: str, salt: str) -> tuple[str, str]:
    salted = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), ROUNDS)
    client, server = (hmac.new(salted, word, "sha1").digest() for word in (b"Client Key", b"Server Key"))
    return hashlib.sha1(client).hexdigest(), server.hex()  # noqa: S324 (the protocol's)


class FakeProsody:
    """Makes an account that is missing when it starts; one that exists keeps its password, as upstream's image does."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host

    def path(self, name: str) -> str:
        return f"/opt/kmu/data/jitsi/prosody/data/auth%2emeet%2ejitsi/accounts/{name}.dat"

    def start(self, folder: str) -> None:
        for name, variable in VARIABLES.items():
            if self.host.read(self.path(name)) is None:
                self.register(name, variables(self.host, f"{folder}/jitsi/prosody.env")[variable])

    def register(self, name: str, password: str) -> None:
        stored, server = keys(password, "salt of its own")
        fields = f'["stored_key"] = "{stored}";\n\t["salt"] = "salt of its own";\n\t["server_key"] = "{server}";'
        text = f'return {{\n\t{fields}\n\t["iteration_count"] = {ROUNDS};\n\t["created"] = 1795255746;\n}};\n'
        self.host.write(self.path(name), text.encode(), mode=0o640, uid=1000)

    def accepts(self, name: str, password: str) -> bool:
        kept = dict(re.findall(r'\["(\w+)"\] = "?([^";]+)"?;', self.host.text(self.path(name))))
        return (kept["stored_key"], kept["server_key"]) == keys(password, kept["salt"])

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask jitsi-prosody: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"execute jitsi-prosody: {' '.join(command)}")


class FakePart:
    """jicofo or the bridge: unhealthy for good when Prosody refuses its password at its start."""

    def __init__(self, prosody: FakeProsody, account: str, container: str) -> None:
        self.prosody = prosody
        self.account, self.container = account, container

    def start(self, folder: str) -> None:
        from tests.fakes.engine import Script

        file = f"{folder}/jitsi/{self.container.removeprefix('jitsi-')}.env"
        password = variables(self.prosody.host, file)[VARIABLES[self.account]]
        if not self.prosody.accepts(self.account, password):
            refusal = Script(end="unhealthy", says="SASL authentication failed")
            self.prosody.host.engine.scripts[self.container] = refusal

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"ask {self.container}: {' '.join(command)}")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        raise Untaught(f"execute {self.container}: {' '.join(command)}")


def variables(host: FakeHost, path: str) -> dict[str, str]:
    lines = [line for line in host.text(path).splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
