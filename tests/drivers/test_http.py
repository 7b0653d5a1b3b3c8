"""Requests to the services: what is repeated, and what is not, against a server on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from kmuctl.drivers import http
from kmuctl.drivers.http import HttpClient
from kmuctl.drivers.reach import Place
from kmuctl.model.errors import HostError
from kmuctl.model.host import Call, Reply
from kmuctl.model.secrets import Secret

HANG_UP, BE_SILENT = -1, -2


class Server(ThreadingHTTPServer):
    """Answers with these codes one after the other, then with 200; or hangs up on a request, or says nothing to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes: list[int] = []
        self.headers: dict[str, str] = {}
        self.seen: list[tuple[str, str]] = []
        self.closing = Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.headers.get("Authorization", "")))
        code = self.server.codes.pop(0) if self.server.codes else 200
        if code == BE_SILENT:
            self.server.closing.wait()
        if code < 0:
            self.close_connection = True
            return
        self.send_response(code)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0, 0.0))
    with Server() as running:
        thread = Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


def call(server: Server, method: str = "GET") -> Call:
    return Call(container="x", port=server.server_port, path="/", method=method, token=Secret("t0ken"))


CLIENT = HttpClient(lambda container, port, recent=False: Place("127.0.0.1", port))


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_a_question_is_repeated_while_the_service_is_busy(server: Server, code: int) -> None:
    server.codes = [code, code]
    assert CLIENT.ask(call(server)) == Reply(200, "{}")
    assert server.seen == [("GET", "Bearer t0ken")] * 3


def test_the_last_answer_counts(server: Server) -> None:
    server.codes = [503] * 9
    assert CLIENT.ask(call(server)).status == 503
    assert len(server.seen) == 4


@pytest.mark.parametrize(("code", "times"), [(502, 1), (504, 1), (503, 2), (429, 2)])
def test_what_may_have_been_done_is_not_sent_twice(server: Server, code: int, times: int) -> None:
    server.codes = [code]
    CLIENT.send(call(server, "POST"))
    assert len(server.seen) == times


def test_a_proxy_sees_neither_request_nor_token(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert CLIENT.ask(call(server)).status == 200


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
def test_nobody_there(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0, 0.0))
    client = HttpClient(lambda container, port, recent=False: Place(address, port) if address else None)
    with pytest.raises(HostError, match="`x` does not answer on port 9"):
        client.ask(Call(container="x", port=9, path="/"))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 0.05)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", [HANG_UP, BE_SILENT])
def test_a_question_without_an_answer_is_asked_again(server: Server, fault: int) -> None:
    """A service that restarts in the middle of a step."""
    server.codes = [fault, fault]
    assert CLIENT.ask(call(server)) == Reply(200, "{}")
    assert len(server.seen) == 3


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("fault", "reason"), [(HANG_UP, "disconnected"), (BE_SILENT, "timed out")])
def test_a_question_is_not_asked_for_ever(server: Server, fault: int, reason: str) -> None:
    server.codes = [fault] * 9
    with pytest.raises(HostError, match=f"`x` does not answer on port {server.server_port}: .*{reason}") as caught:
        CLIENT.ask(call(server))
    assert caught.value.hint == "`kmuctl logs x`"
    assert len(server.seen) == 4


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", [HANG_UP, BE_SILENT])
def test_a_change_that_arrived_is_not_sent_again_without_an_answer(server: Server, fault: int) -> None:
    """It may have been carried out: only the next check can tell."""
    server.codes = [fault]
    with pytest.raises(HostError, match="`x` does not answer"):
        CLIENT.send(call(server, "POST"))
    assert len(server.seen) == 1


def test_a_change_that_reached_nobody_is_sent_again(server: Server) -> None:
    """A refused connection carried nothing: the service is just starting."""
    addresses = iter(["127.0.0.2", "127.0.0.2", "127.0.0.1"])
    client = HttpClient(lambda container, port, recent=False: Place(next(addresses), port))
    assert client.send(call(server, "POST")).status == 200
    assert server.seen == [("POST", "Bearer t0ken")]


@pytest.mark.parametrize("ask", [CLIENT.ask, CLIENT.send])
def test_an_answer_that_cannot_be_unpacked_is_no_traceback(server: Server, ask: Callable[[Call], Reply]) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(HostError, match="`x` does not answer on port"):
        ask(call(server))
    assert len(server.seen) == (1 if ask == CLIENT.send else 4)


@pytest.mark.parametrize(
    ("said", "slept"),
    [("3", 3.0), ("0", 0.5), ("86400", http.LONGEST), ("Sat, 21 Nov 2026 07:28:00 GMT", 0.5), ("-5", 0.5), ("", 0.5)],
)
@pytest.mark.parametrize("code", [429, 503])
def test_a_service_may_ask_for_a_longer_pause_but_not_for_any(
    server: Server, monkeypatch: pytest.MonkeyPatch, said: str, slept: float, code: int
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(http, "PAUSES", (0.5,))
    monkeypatch.setattr(http, "sleep", pauses.append)
    server.codes, server.headers = [code], {"Retry-After": said}
    assert CLIENT.send(call(server, "POST")).status == 200
    assert pauses == [slept]


@pytest.mark.parametrize("text", ["<html>busy</html>", "", "{", "null", "[1]", '{"other": 1}'])
def test_an_answer_that_is_something_else_says_who_gave_it(text: str) -> None:
    with pytest.raises(HostError) as caught:
        Reply(200, text, "x").json("wanted")
    assert caught.value.message == f"`x` answers 200 with something unexpected: {text or 'nothing'}"
    assert caught.value.hint == "`kmuctl logs x`"


def test_an_answer_is_taken_as_it_is_unless_something_is_expected() -> None:
    assert Reply(200, "[]").json() == []
    assert Reply(200, '{"a": 1, "b": 2}').json("a") == {"a": 1, "b": 2}


def test_an_answer_knows_who_gave_it(server: Server) -> None:
    assert CLIENT.ask(call(server)).container == "x"
