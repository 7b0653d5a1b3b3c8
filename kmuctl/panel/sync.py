"""The worker that will keep mailboxes in step with people: `python -m kmuctl.panel.sync`.

It syncs nothing yet. It watches whether the directory (Authentik) is ready, logs when that changes, and answers its
health check accordingly; and it takes Stalwart's events, which it logs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from kmuctl.panel import events

ADDRESS, KEY_FILE = "KMU_AUTHENTIK_URL", "KMU_STALWART_WEBHOOK_KEY_FILE"  # names of environment variables
HOOK, HOOK_BYTES = "/webhooks/stalwart", 4_000_000
READY = "/-/health/ready/"
INTERVAL, PATIENCE, FRESH = 30.0, 5.0, 90.0  # seconds
PORT = 8001
STOPPING = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger("kmuctl.sync")


@dataclass(slots=True)
class Watch:
    """What the polls have shown so far. One thread notes, others only read."""

    clock: Callable[[], float] = time.monotonic
    succeeded: float | None = None
    """When a poll last succeeded."""
    problem: str | None = "not asked yet"
    """Of the last poll; None when it succeeded."""
    ready: bool | None = None
    """What the last poll showed; None before the first."""

    def note(self, problem: str | None) -> str | None:
        """Remember one poll; the line to log if the state has changed, else None."""
        before, self.ready, self.problem = self.ready, problem is None, problem
        if self.ready:
            self.succeeded = self.clock()
        if self.ready == before:
            return None
        return f"the directory is not ready: {problem}" if problem else "the directory is ready"

    def reason(self) -> str | None:
        """Why the worker is not healthy; None when it is. One missed poll is no reason yet."""
        if self.succeeded is None:
            return f"the directory was never ready: {self.problem}"
        age = self.clock() - self.succeeded
        if age < FRESH:
            return None
        return f"the directory was last ready {age:.0f} s ago: {self.problem or 'no answer since'}"


def poll(client: httpx.Client, address: str) -> str | None:
    """Ask the directory once; None when it is ready."""
    try:
        response = client.get(address.rstrip("/") + READY)
    except httpx.TimeoutException:
        return f"no answer within {PATIENCE:g} s"
    except httpx.HTTPError as error:
        return f"no connection: {error}"
    return None if response.is_success else f"answers with status {response.status_code}"


def keep_polling(watch: Watch, address: str, stop: threading.Event, interval: float = INTERVAL) -> None:
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        while not stop.is_set():
            if line := watch.note(poll(client, address)):
                log.info(line)
            stop.wait(interval)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], watch: Watch, key: str = "") -> None:
        self.watch = watch
        self.key = key
        """Of Stalwart's signatures; "" where there is no mail."""
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 5

    def do_GET(self) -> None:
        if self.path != "/healthz":
            self._answer(404, {"error": {"status": 404, "message": "Not Found"}})
        elif reason := self.server.watch.reason():
            self._answer(503, {"healthy": False, "failing": {"directory": reason}})
        else:
            self._answer(200, {"healthy": True, "failing": {}})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != HOOK or not self.server.key:
            self._answer(404, {"error": {"status": 404, "message": "Not Found"}})
        elif not length.isdecimal() or int(length) > HOOK_BYTES:
            self._answer(413, {"error": {"status": 413, "message": "Content Too Large"}})
        else:
            self._answer(*self._take(self.rfile.read(int(length))))

    def _take(self, body: bytes) -> tuple[int, Mapping[str, object]]:
        if not events.genuine(body, self.headers.get("X-Signature", ""), self.server.key):
            log.warning("events with a wrong signature, from %s", self.client_address[0])
            return 401, {"error": {"status": 401, "message": "Wrong signature"}}
        try:
            lines = events.lines(body)
        except ValueError as error:
            log.warning("events of Stalwart: %s", error)
            return 400, {"error": {"status": 400, "message": "Bad Request"}}
        for line in lines:
            log.info(line)
        return 200, {"taken": len(lines)}

    def _answer(self, status: int, content: Mapping[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "kmuctl"

    def log_message(self, format: str, *arguments: object) -> None:
        """Health checks and events: what is worth a line has one already."""


@contextmanager
def running(address: str, server: Server, interval: float = INTERVAL) -> Iterator[None]:
    """Poll and answer for as long as the block lasts. Daemon threads: a poll under way does not delay the end."""
    stop = threading.Event()
    polling = (server.watch, address, stop, interval)
    threading.Thread(target=keep_polling, args=polling, daemon=True).start()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        server.shutdown()
        server.server_close()


def main(environment: Mapping[str, str]) -> int:
    address = environment.get(ADDRESS, "")
    if not re.fullmatch(r"https?://[^\s/]+\S*", address):
        sys.stderr.write(f"error: {ADDRESS} must be an http or https address: `{address}`\n")
        return 2
    try:
        key = Path(environment[KEY_FILE]).read_text(encoding="utf-8").strip() if KEY_FILE in environment else ""
    except OSError as error:
        sys.stderr.write(f"error: {KEY_FILE}: {error}\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Blocked and waited for: a handler could interrupt the main thread at any place.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    everywhere = "0.0.0.0"  # noqa: S104 - inside the container; nothing is published
    with running(address, Server((everywhere, PORT), Watch(), key)):
        signal.sigwait(STOPPING)
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
