"""`ak`: server, worker, healthcheck, apply_blueprint, create_recovery_key, dump_config."""

import json
import logging
import os
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psycopg
import uvicorn

from . import BANNER, app, defaults, discovery
from .importer import apply
from .settings import Settings, SettingsError, load
from .store import PostgresStore
from .tags import BlueprintInvalid


class DryRun(Exception):
    """Undoes the transaction after a good apply."""


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(b"authentik_double 1\n")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else ""
    if command == "healthcheck":
        return healthcheck()
    try:
        settings = load(os.environ)
    except SettingsError as error:
        print(f"{BANNER}\n{error}", file=sys.stderr)
        return 1
    if command in ("server", "worker"):
        return serve(command, settings)
    if command == "apply_blueprint":
        return apply_blueprints(settings, arguments[1:])
    if command == "create_recovery_key":
        return create_recovery_key(settings, [word for word in arguments[1:] if word != "--"])
    if command == "dump_config":
        print(json.dumps(settings.values, indent=2, sort_keys=True))
        return 0
    print(f"{BANNER}: unknown command {command!r}", file=sys.stderr)
    return 2


def healthcheck() -> int:
    """Alive, database or not: so since 2026.8 (goauthentik/authentik#25071)."""
    try:
        return 0 if httpx.get("http://127.0.0.1:9000/-/health/live/", timeout=5).status_code == 200 else 1
    except httpx.HTTPError:
        return 1


def serve(command: str, settings: Settings) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    print(BANNER, command, flush=True)
    store = PostgresStore(settings.conninfo())
    if not settings.bootstrap.keys() & {"PASSWORD", "PASSWORD_HASH", "TOKEN"}:
        print("WARNING: no bootstrap variable: the first visitor of a new instance can take akadmin", flush=True)
    threading.Thread(target=prepare, args=(store, settings, command), daemon=True).start()
    threading.Thread(target=ThreadingHTTPServer(("", 9300), Metrics).serve_forever, daemon=True).start()
    program = app.server(store, settings) if command == "server" else app.worker(store)
    uvicorn.run(program, host="0.0.0.0", port=9000, proxy_headers=False, log_level="warning", access_log=False)
    return 0


def prepare(store: PostgresStore, settings: Settings, command: str) -> None:
    """Waits for the database, as the real start does; not ready until then."""
    while True:
        try:
            store.migrate()
            with store.transaction() as rows:
                defaults.install(rows, settings)
            break
        except psycopg.Error as error:
            print(f"database: {error}".strip(), file=sys.stderr, flush=True)
            time.sleep(1)
    if command == "worker":
        discovery.watch(store)


def apply_blueprints(settings: Settings, arguments: list[str]) -> int:
    store = PostgresStore(settings.conninfo())
    paths = [argument for argument in arguments if argument != "--dry-run"]
    if not paths or any(path.startswith("-") for path in paths):
        print("usage: ak apply_blueprint [--dry-run] custom/file.yaml ...", file=sys.stderr)
        return 2
    for path in paths:
        try:
            _apply_one(store, path, dry="--dry-run" in arguments)
        except DryRun:
            continue
        except (BlueprintInvalid, OSError, UnicodeDecodeError, psycopg.Error) as error:
            importer = "\tauthentik.blueprints.v1.importer:"
            print(
                "Blueprint invalid",
                f"{importer} {error}",
                f"{importer} Blueprint validation failed: {{}}",
                sep="\n",
                file=sys.stderr,
            )
            return 1
    return 0


def create_recovery_key(settings: Settings, arguments: list[str]) -> int:
    """Like the real one it ends with 0 even when there is nobody of that name."""
    *minutes, name = arguments
    expires = time.time() + 60 * int(minutes[0] if minutes else 60)
    with PostgresStore(settings.conninfo()).transaction() as rows:
        user = rows.find("authentik_core.user", username=name)
        if user is None:
            print(f"User '{name}' not found.", file=sys.stderr)
            return 0
        key = secrets.token_urlsafe(45)
        rows.add("double.recovery", key=key, user=user["pk"], expires=expires)
    print(f"Store this link safely, as it will allow anyone to access authentik as {name}.")
    print(f"/recovery/use-token/{key}/")
    return 0


def _apply_one(store: PostgresStore, path: str, dry: bool) -> None:
    full = (discovery.ROOT / path).resolve()
    if not full.is_relative_to(discovery.ROOT.resolve()):
        raise BlueprintInvalid("outside of /blueprints")
    text = Path(full).read_text(encoding="utf-8")
    with store.transaction() as rows:
        apply(rows, text)
        if dry:
            raise DryRun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
