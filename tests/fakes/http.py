"""The services of the stack, as far as kmuctl talks to them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Protocol

from kmuctl.model.errors import HostError
from kmuctl.model.host import Answer, Call, Reply
from tests.fakes.authentik import FakeAuthentik
from tests.fakes.jitsi import FakePart, FakeProsody
from tests.fakes.synapse import FakeSynapse
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost


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
        self._join(host, FakeAuthentik(host), FakeSynapse(host))

    def _join(self, host: FakeHost, authentik: FakeAuthentik, synapse: FakeSynapse) -> None:
        self.host = host
        self.authentik = authentik
        self.synapse = synapse
        self.prosody = FakeProsody(host)
        self.programs: dict[str, Program] = {
            "authentik-worker": authentik,
            "synapse": synapse,
            "jitsi-prosody": self.prosody,
            "jitsi-jicofo": FakePart(self.prosody, "focus", "jitsi-jicofo"),
            "jitsi-jvb": FakePart(self.prosody, "jvb", "jitsi-jvb"),
        }
        self.servers: dict[tuple[str, int], Server] = {
            ("authentik-server", 9000): authentik,
            ("synapse", 8008): synapse,
        }

    def clone(self, host: FakeHost) -> FakeHttp:
        twin = copy.copy(self)
        twin.sent = list(self.sent)
        twin._join(host, self.authentik.clone(host), self.synapse.clone(host))
        return twin

    def ask(self, call: Call) -> Reply:
        return self._server(call).answer(call)

    def send(self, call: Call) -> Reply:
        self.sent.append(f"{call.method} {call.path}")
        return self._server(call).answer(call)

    def _server(self, call: Call) -> Server:
        made = self.host.engine.made.get(call.container)
        if made is None or made.stopped:
            raise HostError(f"`{call.container}` does not answer")
        if (call.container, call.port) not in self.servers:
            raise Untaught(f"{call.method} {call.container}:{call.port}{call.path}")
        return self.servers[call.container, call.port]
