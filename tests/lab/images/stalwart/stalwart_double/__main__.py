"""`stalwart --config FILE`: reads config.json, opens the database, starts the listeners of the registry."""

import json
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import uvicorn

from . import BANNER, defaults, schema
from .mail import Listener
from .server import Service, application
from .store import MemoryStore, PostgresStore, Row

KNOWN = {
    "STALWART_" + name
    for name in [
        "RECOVERY_ADMIN",
        "RECOVERY_MODE",
        "RECOVERY_MODE_PORT",
        "RECOVERY_MODE_LOG_LEVEL",
        "PUBLIC_URL",
        "HTTPS_PORT",
        "HOSTNAME",
        "ROLE",
        "PUSH_SHARD",
        "HEALTHCHECK_URL",
    ]
}


class ConfigError(Exception):
    """The real server would not start."""


def read_config(path: Path) -> dict[str, Any]:
    """Connection parameters out of one x:DataStore object."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        whole = schema.complete("x:DataStore", body, lambda kind, key: True)
    except (ValueError, AttributeError, schema.SetError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if whole["@type"] != "PostgreSql":
        raise ConfigError(f"{path}: the double opens PostgreSql only, not {whole['@type']}")
    try:
        password = schema.resolve_secret(whole["authSecret"], os.environ)
    except (KeyError, OSError) as error:
        raise ConfigError(f"{path}: authSecret cannot be read: {error}") from error
    names = {"host": "host", "port": "port", "database": "dbname", "authUsername": "user"}
    found = {target: whole[source] for source, target in names.items()}
    return {**found, "password": password, "connect_timeout": max(1, (whole.get("timeout") or 15000) // 1000)}


def check_environment() -> None:
    for name in sorted(name for name in os.environ if name.startswith("STALWART_") and name not in KNOWN):
        print(f"note: {name} is no variable of Stalwart; fine if a secret refers to it", flush=True)
    admin = os.environ.get("STALWART_RECOVERY_ADMIN")
    if admin and ":" not in admin:
        raise ConfigError("STALWART_RECOVERY_ADMIN must be user:password")


def start_listener(service: Service, row: Row) -> None:
    port = int(next(iter(row["bind"])).rpartition(":")[2])
    if row["protocol"] == "http":
        start_http(service, port, service.keyring.self_signed_file() if row["tlsImplicit"] else None)
        return
    tls = service.keyring.listening() if row["useTls"] else None
    server = Listener(service, row["protocol"], port, tls, row["tlsImplicit"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening: {row['name']} {row['protocol']} {port}", flush=True)


def start_http(service: Service, port: int, pem: Path | None = None) -> None:
    config = uvicorn.Config(
        application(service), ssl_certfile=pem, proxy_headers=False, log_level="warning", access_log=False
    )
    both = {"family": socket.AF_INET6, "dualstack_ipv6": True} if socket.has_dualstack_ipv6() else {}
    listening = socket.create_server(("", port), **both)
    threading.Thread(target=uvicorn.Server(config).run, args=([listening],), daemon=True).start()
    print(f"listening: http {port}", flush=True)


def start(path: Path) -> None:
    check_environment()
    port = int(os.environ.get("STALWART_RECOVERY_MODE_PORT", "8080"))
    admin, url = os.environ.get("STALWART_RECOVERY_ADMIN", ""), os.environ.get("STALWART_PUBLIC_URL", "")
    if not path.exists():
        admin = admin or "admin:" + secrets.token_urlsafe(12)
        print(f"bootstrap mode (no {path}), administrator {admin}", file=sys.stderr, flush=True)
        start_http(Service(MemoryStore(), "bootstrap", admin, url), port)
        return
    store = PostgresStore(read_config(path))
    store.create()
    recovery = os.environ.get("STALWART_RECOVERY_MODE", "").lower() in ("1", "true")
    service = Service(store, "recovery" if recovery else "normal", admin, url)
    if recovery:
        print("recovery mode", flush=True)
        start_http(service, port)
        return
    start_normal(service)


def start_normal(service: Service) -> None:
    with service.store.transaction() as tables:
        registry = service.registry(tables)
        defaults.insert(registry)
        for problem in registry.build_errors():
            print(f"registry.build-error {problem}", flush=True)
        for key, problem in service.keyring.load(tables):
            print(f"registry.build-error x:Certificate {key}: {problem}", flush=True)
    service.reload()
    for row in service.live["x:NetworkListener"].values():
        start_listener(service, row)


def main(arguments: list[str]) -> int:
    print(BANNER, flush=True)
    if len(arguments) != 2 or arguments[0] != "--config":
        print("usage: stalwart --config FILE (the double knows no other argument)", file=sys.stderr)
        return 2
    try:
        start(Path(os.environ.get("CONFIG_PATH", arguments[1])))
    except (ConfigError, psycopg.Error, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
