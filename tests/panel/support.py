"""A small local HTTP server that stands in for Authentik, and settings for the panel."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

APP = {"name": "element", "title": "Element", "text": "Chat", "url": "https://element.acme.example/", "admins": False}
ADMIN_APP = {"name": "dozzle", "title": "Dozzle", "text": "Logs", "url": "https://logs.acme.example/", "admins": True}
SITE = {
    "name": "ACME GmbH",
    "domain": "acme.example",
    "language": "de",
    "color": "#2a6f97",
    "authentik": "http://127.0.0.1:1",
    "people": "https://auth.acme.example/if/admin/#/identity/users",
    "apps": [APP, ADMIN_APP],
}


@dataclass
class Authentik:
    """Answers every path with `status`; `asked` are the paths it was asked for."""

    status: int = 200
    silent: threading.Event | None = None
    """When given, answers wait for it."""
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def authentik() -> Iterator[Authentik]:
    state = Authentik()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if state.silent:
                state.silent.wait(10)
            self.send_response(state.status)
            self.end_headers()
            self.wfile.write(b"because")

        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield state
        finally:
            if state.silent:
                state.silent.set()
            server.shutdown()


def environment(folder: Path, **changes: Any) -> dict[str, str]:
    """Files and variables as the panel's container has them."""
    (folder / "panel.json").write_text(json.dumps(SITE | changes), encoding="utf-8")
    (folder / "session_secret").write_text("secret", encoding="utf-8")
    return {
        "KMU_SITE": str(folder / "panel.json"),
        "KMU_SESSION_SECRET_FILE": str(folder / "session_secret"),
    }
