"""Requests to the services: what is repeated, and what is not, against a server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from kmuctl.drivers import http
from kmuctl.drivers.http import HttpClient
from kmuctl.model.errors import HostError
from kmuctl.model.host import Call, Reply
from kmuctl.model.secrets import Secret


class Server(ThreadingHTTPServer):
    """Answers with these codes one after the other, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes: list[int] = []
        self.seen: list[tuple[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.headers.get("Authorization", "")))
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0, 0.0))
    with Server() as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def call(server: Server, method: str = "GET") -> Call:
    return Call(container="x", port=server.server_port, path="/", method=method, token=Secret("t0ken"))


CLIENT = HttpClient(lambda project, container: "127.0.0.1")


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
    client = HttpClient(lambda project, container: address)
    with pytest.raises(HostError, match="`x` does not answer on port 9"):
        client.ask(Call(container="x", port=9, path="/"))
