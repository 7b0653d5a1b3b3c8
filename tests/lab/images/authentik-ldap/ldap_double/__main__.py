"""`/ldap` and `/ldap healthcheck`."""

import os
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from . import BANNER, ber
from .directory import Bound, Directory, Fatal, Refused

KNOWN = ("AUTHENTIK_HOST", "AUTHENTIK_TOKEN", "AUTHENTIK_INSECURE", "AUTHENTIK_LOG_LEVEL")
PING = "/outpost.goauthentik.io/ping"


def load(environ: dict[str, str]) -> Directory:
    unknown = sorted(name for name in environ if name.startswith("AUTHENTIK_") and name not in KNOWN)
    if unknown:
        raise Fatal(f"unknown settings {unknown}")
    values = {name: _expand(environ.get(name, "")) for name in KNOWN}
    if not values["AUTHENTIK_TOKEN"] or urlsplit(values["AUTHENTIK_HOST"]).scheme not in ("http", "https"):
        raise Fatal("AUTHENTIK_HOST (a URL) and AUTHENTIK_TOKEN are needed")
    return Directory(
        values["AUTHENTIK_HOST"], values["AUTHENTIK_TOKEN"], values["AUTHENTIK_INSECURE"].lower() == "true"
    )


def _expand(value: str) -> str:
    url = urlsplit(value)
    if url.scheme == "env":
        return os.environ.get(url.netloc, url.query)
    if url.scheme != "file":
        return value
    try:
        return Path(url.path).read_text(encoding="utf-8").strip()
    except OSError as error:
        if url.query:
            return url.query
        raise Fatal(f"{value}: {error}") from error


class Talk(socketserver.StreamRequestHandler):
    server: Any
    bound: Bound | None = None

    def handle(self) -> None:
        while (received := ber.read_message(self.rfile)) is not None:
            number, (tag, content) = received
            if tag == ber.UNBIND:
                return
            if tag != ber.ABANDON:
                self.answer(number, tag, content)

    def answer(self, number: int, tag: int, content: bytes) -> None:
        actions = {ber.BIND: (self.bind, ber.BOUND), ber.SEARCH: (self.search, ber.DONE)}
        action, done = actions.get(tag, (self.unknown, ber.EXTENDED_ANSWER))
        code, reason = 0, ""
        try:
            action(number, content)
        except Refused as refused:
            code, reason = refused.code, str(refused)
        except (httpx.HTTPError, ber.Malformed) as error:
            code, reason = 1, str(error)
        self.wfile.write(ber.message(number, ber.result(done, code, reason)))

    def unknown(self, number: int, content: bytes) -> None:
        raise Refused(53, "DOUBLE knows bind and search only (no StartTLS)")

    def bind(self, number: int, content: bytes) -> None:
        self.bound = None
        _, (_, name), (kind, password) = ber.split(content)
        if kind != 0x80:
            raise Refused(7, "only simple binds")
        if name or password:
            self.bound = self.server.directory.bind(name.decode(), password.decode())

    def search(self, number: int, content: bytes) -> None:
        items = ber.split(content)
        base, scope = items[0][1].decode().lower(), items[1][1][-1]
        if not base and scope == 0:
            root = {"objectClass": ["top"], "namingContexts": [self.server.directory.base]}
            self.wfile.write(ber.message(number, ber.entry("", root)))
            return
        if self.bound is None:
            raise Refused(50, "anonymous search is not allowed")
        wanted = [name.decode().lower() for _, name in ber.split(items[7][1])]
        exact = dict(ber.asked_for(items[6]))
        for name, attributes in self.server.directory.entries():
            if any(attributes.get(key) != [value] for key, value in exact.items()):
                continue
            if self.visible(name) and _below(name.lower(), base, scope) and ber.matches(items[6], attributes):
                self.wfile.write(ber.message(number, ber.entry(name, _chosen(attributes, wanted))))

    def visible(self, name: str) -> bool:
        assert self.bound is not None
        return self.bound.everything or name.lower().startswith(f"cn={self.bound.name.lower()},ou=users,")


def _below(name: str, base: str, scope: int) -> bool:
    if scope == 0:
        return name == base
    if scope == 1:
        return name.partition(",")[2] == base
    return name == base or name.endswith("," + base)


def _chosen(attributes: ber.Attributes, wanted: list[str]) -> ber.Attributes:
    if not wanted or "*" in wanted:
        return attributes
    return {key: values for key, values in attributes.items() if key.lower() in wanted}


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], directory: Directory) -> None:
        self.directory = directory
        super().__init__(address, Talk)


class Health(BaseHTTPRequestHandler):
    """Beside LDAP, and always content, like the real one."""

    def do_GET(self) -> None:
        self.send_response(204 if self.path == PING else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def healthcheck() -> int:
    try:
        return 0 if httpx.get(f"http://127.0.0.1:9300{PING}", timeout=5).status_code == 204 else 1
    except httpx.HTTPError:
        return 1


def serve(directory: Directory) -> None:
    threading.Thread(target=ThreadingHTTPServer(("", 9300), Health).serve_forever, daemon=True).start()
    directory.connect()
    server = Server(("", 3389), directory)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"serving {directory.base} on 3389", flush=True)
    while True:
        time.sleep(5)
        directory.connect()


def main(arguments: list[str]) -> int:
    if arguments == ["healthcheck"]:
        return healthcheck()
    print(BANNER, flush=True)
    try:
        serve(load(dict(os.environ)))
    except Fatal as error:
        print(f"fatal: {error}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
