"""HTTP to the services of the stack, at their containers' own addresses: no port is published for it."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

from kmuctl.drivers.reach import Reach
from kmuctl.model.errors import HostError
from kmuctl.model.host import Call, Reply

if TYPE_CHECKING:
    from httpx import Response

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each further attempt; more when a service asks for it by `Retry-After`, up to `LONGEST`."""
LONGEST = 10.0
BUSY = frozenset({429, 502, 503, 504})
"""Answers that say nothing about the request itself."""
NOT_DONE = frozenset({429, 503})
"""Answers that say that a change was not even tried."""
TIMEOUT = 30


class HttpClient:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def ask(self, call: Call) -> Reply:
        return self._insist(call, BUSY, repeatable=True)

    def send(self, call: Call) -> Reply:
        return self._insist(call, NOT_DONE, repeatable=False)

    def _insist(self, call: Call, busy: frozenset[int], *, repeatable: bool) -> Reply:
        from httpx import ConnectError, RequestError

        for pause in (*PAUSES, None):
            wait = pause or 0.0
            try:
                response = self._exchange(call)
            except (RequestError, ConnectionError) as error:
                # a request that was cut off may have been carried out: only reading is repeated then
                if pause is None or not (repeatable or isinstance(error, (ConnectError, ConnectionError))):
                    raise _no_answer(call, str(error) or type(error).__name__) from None
            else:
                if pause is None or response.status_code not in busy:
                    return Reply(response.status_code, response.text, call.container)
                wait = max(wait, min(_asked_for(response), LONGEST))
            sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _exchange(self, call: Call) -> Response:
        import httpx

        place = self._reach(call.container, call.port)
        if place is None:
            raise _no_answer(call, "it is not running")
        headers = {**call.headers, **({"Authorization": f"Bearer {call.token.reveal()}"} if call.token else {})}
        sign_in = (call.user[0], call.user[1].reveal()) if call.user else None
        url = f"http://{place.address}:{place.port}{call.path}"
        # a proxy in root's environment must see neither the request nor its token; and to read all certificate
        # authorities, for a request without TLS, takes longer than most answers
        way = httpx.HTTPTransport(trust_env=False, verify=False, uds=str(place.file) if place.file else None)
        with httpx.Client(timeout=TIMEOUT, trust_env=False, transport=way) as client:
            return client.request(call.method, url, headers=headers, auth=sign_in, json=call.body)


def _asked_for(response: Response) -> float:
    """Seconds. A date is left aside: the two clocks may differ."""
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() else 0.0


def _no_answer(call: Call, reason: str) -> HostError:
    return HostError(
        f"`{call.container}` does not answer on port {call.port}: {reason}", hint=f"`kmuctl logs {call.container}`"
    )
