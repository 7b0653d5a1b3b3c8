"""HTTP to the services of the stack, at their containers' own addresses: no port is published for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import sleep
from typing import TYPE_CHECKING

from kmuctl.drivers.reach import Place, Reach
from kmuctl.model.errors import HostError
from kmuctl.model.host import Call, Reply

if TYPE_CHECKING:
    from httpx import Client, Response

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each further attempt; more when a service asks for it by `Retry-After`, up to `LONGEST`."""
LONGEST = 10.0
BUSY = frozenset({429, 502, 503, 504})
"""Answers that say nothing about the request itself."""
NOT_DONE = frozenset({429, 503})
"""Answers that say that a change was not even tried."""
TIMEOUT = 30
KEPT = 2.0
"""Seconds that an idle connection is used again: servers hang up on those after five."""


class HttpClient:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._mutex = Lock()
        self._kept: dict[str, Client] = {}
        """By the socket file through which they go: over a link a connection costs as much as a question."""

    def close(self) -> None:
        for client in self._kept.values():
            client.close()
        self._kept.clear()

    def ask(self, call: Call) -> Reply:
        return self._insist(call, BUSY, repeatable=True)

    def send(self, call: Call) -> Reply:
        return self._insist(call, NOT_DONE, repeatable=False)

    def _insist(self, call: Call, busy: frozenset[int], *, repeatable: bool) -> Reply:
        from httpx import ConnectError, RequestError

        recent = repeatable
        for pause in (*PAUSES, None):
            wait = pause or 0.0
            try:
                response = self._exchange(call, recent=recent)
            except (RequestError, ConnectionError) as error:
                # a request that was cut off may have been carried out: only reading is repeated then
                if pause is None or not (repeatable or isinstance(error, (ConnectError, ConnectionError))):
                    raise _no_answer(call, str(error) or type(error).__name__) from None
            else:
                if pause is None or response.status_code not in busy:
                    return Reply(response.status_code, response.text, call.container)
                wait = max(wait, min(_asked_for(response), LONGEST))
            recent = False
            sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _exchange(self, call: Call, *, recent: bool) -> Response:
        place = self._reach(call.container, call.port, recent=recent)
        if place is None:
            raise _no_answer(call, "it is not running")
        headers = {**call.headers, **({"Authorization": f"Bearer {call.token.reveal()}"} if call.token else {})}
        sign_in = (call.user[0], call.user[1].reveal()) if call.user else None
        url = f"http://{place.address}:{place.port}{call.path}"
        with self._client(place, recent=recent) as client:
            return client.request(call.method, url, headers=headers, auth=sign_in, json=call.body)

    @contextmanager
    def _client(self, place: Place, *, recent: bool) -> Iterator[Client]:
        """For one request; one that may be repeated takes a connection that is open still, where it saves a way."""
        if not recent or place.file is None:
            with _new_client(place.file) as client:
                yield client
            return
        with self._mutex:
            name = str(place.file)
            if name not in self._kept:
                self._kept[name] = _new_client(place.file)
            kept = self._kept[name]
        yield kept


def _new_client(socket: Path | None) -> Client:
    """A proxy in root's environment must see neither the request nor its token; and to read all certificate
    authorities, for a request without TLS, takes longer than most answers.
    """
    import httpx

    limits = httpx.Limits(keepalive_expiry=KEPT)
    uds = str(socket) if socket else None
    way = httpx.HTTPTransport(trust_env=False, verify=False, uds=uds, limits=limits)
    return httpx.Client(timeout=TIMEOUT, trust_env=False, transport=way)


def _asked_for(response: Response) -> float:
    """Seconds. A date is left aside: the two clocks may differ."""
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() else 0.0


def _no_answer(call: Call, reason: str) -> HostError:
    return HostError(
        f"`{call.container}` does not answer on port {call.port}: {reason}", hint=f"`kmuctl logs {call.container}`"
    )
