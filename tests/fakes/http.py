"""The services of the stack, as far as kmuctl talks to them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from kmuctl.model.errors import HostError
from kmuctl.model.host import Answer, Call, Reply
from tests.fakes.authentik import FakeAuthentik
from tests.fakes.jitsi import FakePart, FakeProsody
from tests.fakes.nextcloud import FakeNextcloud
from tests.fakes.stalwart import FakeStalwart
from tests.fakes.synapse import FakeSynapse
from tests.fakes.tls import FakeCoturn
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost


KINDS = {
    "authentik": FakeAuthentik, "stalwart": FakeStalwart, "coturn": FakeCoturn, "nextcloud": FakeNextcloud,
    "synapse": FakeSynapse,
}  # fmt: skip


class Server(Protocol):
    def answer(self, call: Call) -> Reply: ...


class Program(Protocol):
    """What commands meet inside a container. `look` refuses whatever would change something."""

    def start(self, folder: str) -> None: ...
    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer: ...
    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer: ...


class FakeHttp:
    """`sent` are the requests, and the commands inside containers, that change something."""

    def __init__(self, host: FakeHost) -> None:
        self.sent: list[str] = []
        self._join(host, {name: kind(host) for name, kind in KINDS.items()})

    def _join(self, host: FakeHost, fakes: dict[str, Any]) -> None:
        self.host = host
        self._fakes = fakes
        self.authentik: FakeAuthentik = fakes["authentik"]
        self.stalwart: FakeStalwart = fakes["stalwart"]
        self.coturn: FakeCoturn = fakes["coturn"]
        self.nextcloud: FakeNextcloud = fakes["nextcloud"]
        self.synapse: FakeSynapse = fakes["synapse"]
        self.prosody = FakeProsody(host)
        self.programs: dict[str, Program] = {
            "authentik-worker": self.authentik, "stalwart": self.stalwart, "coturn": self.coturn,
            "nextcloud": self.nextcloud, "synapse": self.synapse, "jitsi-prosody": self.prosody,
            "jitsi-jicofo": FakePart(self.prosody, "focus", "jitsi-jicofo"),
            "jitsi-jvb": FakePart(self.prosody, "jvb", "jitsi-jvb"),
        }  # fmt: skip
        self.servers: dict[tuple[str, int], Server] = {
            ("authentik-server", 9000): self.authentik, ("stalwart", 8080): self.stalwart,
            ("nextcloud", 80): self.nextcloud, ("synapse", 8008): self.synapse,
        }  # fmt: skip

    def clone(self, host: FakeHost) -> FakeHttp:
        twin = copy.copy(self)
        twin.sent = list(self.sent)
        twin._join(host, {name: fake.clone(host) for name, fake in self._fakes.items()})
        return twin

    def ask(self, call: Call) -> Reply:
        return self._exchange(call)

    def send(self, call: Call) -> Reply:
        self.sent.append(_title(call))
        return self._exchange(call)

    def _exchange(self, call: Call) -> Reply:
        return replace(self._server(call).answer(call), container=call.container)

    def _server(self, call: Call) -> Server:
        made = self.host.engine.made.get(call.container)
        if made is None or made.stopped:
            raise HostError(f"`{call.container}` does not answer")
        if (call.container, call.port) not in self.servers:
            raise Untaught(f"{call.method} {call.container}:{call.port}{call.path}")
        return self.servers[call.container, call.port]


def _title(call: Call) -> str:
    """JMAP says in the body what it changes."""
    methods = [method for method, _, _ in call.body["methodCalls"]] if call.path == "/jmap" else []
    return " ".join([call.method, call.path, *methods])
