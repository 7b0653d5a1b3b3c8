"""HTTP to the services of the stack, at their containers' own addresses: no port is published for it."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep

from kmuctl.model.errors import HostError
from kmuctl.model.host import Call, Reply
from kmuctl.model.stack import PROJECT

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each further attempt."""
BUSY = frozenset({429, 502, 503, 504})
"""Answers that say nothing about the request itself."""
TIMEOUT = 30


class HttpClient:
    """`address(project, container)` gives a container's address, None when it is not running."""

    def __init__(self, address: Callable[[str, str], str | None]) -> None:
        self._address = address

    def ask(self, call: Call) -> Reply:
        return self._insist(call, lambda reply: reply.status in BUSY)

    def send(self, call: Call) -> Reply:
        return self._insist(call, lambda reply: reply.status in (429, 503))

    def _insist(self, call: Call, again: Callable[[Reply], bool]) -> Reply:
        from httpx import ConnectError, TransportError

        for pause in (*PAUSES, None):
            try:
                reply = self._exchange(call)
            except TransportError as error:
                # a request that was cut off may have been carried out: only reading is repeated then
                if pause is None or not (call.method == "GET" or isinstance(error, ConnectError)):
                    raise _no_answer(call, str(error) or type(error).__name__) from None
            else:
                if pause is None or not again(reply):
                    return reply
            sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _exchange(self, call: Call) -> Reply:
        import httpx

        address = self._address(PROJECT, call.container)
        if address is None:
            raise _no_answer(call, "it is not running")
        headers = {**call.headers, **({"Authorization": f"Bearer {call.token.reveal()}"} if call.token else {})}
        url = f"http://{address}:{call.port}{call.path}"
        # a proxy in root's environment must see neither the request nor its token
        response = httpx.request(call.method, url, headers=headers, json=call.body, timeout=TIMEOUT, trust_env=False)
        return Reply(response.status_code, response.text)


def _no_answer(call: Call, reason: str) -> HostError:
    return HostError(
        f"`{call.container}` does not answer on port {call.port}: {reason}", hint=f"`kmuctl logs {call.container}`"
    )
