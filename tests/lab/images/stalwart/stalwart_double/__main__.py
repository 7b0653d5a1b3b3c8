"""`stalwart --config FILE`: reads config.json, opens the database, starts the listeners of the registry."""

import json
import os
import secrets
import socket
import ssl
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(365)
    )
    extended = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    file = folder / "localhost.pem"
    pem = serialization.Encoding.PEM
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(text + extended.sign(key, hashes.SHA256()).public_bytes(pem))
    return file


def certificate_file(service: Service, folder: Path) -> Path:
    """The default certificate of the registry, else the first, else a self-signed one."""
    rows = service.live.get("x:Certificate", {})
    wanted = service.live.get("x:SystemSettings", {}).get("singleton", {}).get("defaultCertificateId")
    row = rows.get(wanted) or next(iter(rows.values()), None)
    if row is None:
        return self_signed(folder)
    public = row["certificate"]
    text = Path(public["filePath"]).read_text() if public["@type"] == "File" else str(public.get("value"))
    file = folder / "server.pem"
    file.write_text(f"{text}\n{schema.resolve_secret(row['privateKey'], os.environ)}\n")
    return file


def start_listener(service: Service, row: Row, pem: Path) -> None:
    port = int(next(iter(row["bind"])).rpartition(":")[2])
    if row["protocol"] == "http":
        start_http(service, port, pem if row["tlsImplicit"] else None)
        return
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if row["useTls"] else None
    if tls is not None:
        tls.load_cert_chain(pem)
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
    service.reload()
    pem = certificate_file(service, Path(tempfile.mkdtemp()))
    for row in service.live["x:NetworkListener"].values():
        start_listener(service, row, pem)


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
