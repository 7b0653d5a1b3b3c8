"""Reads AUTHENTIK_* exactly as documented and refuses everything else."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PROXIES = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fe80::/10,::1/128"
STORAGE_KEYS = "BUCKET_NAME|ENDPOINT|REGION|ACCESS_KEY|SECRET_KEY|CUSTOM_DOMAIN|ADDRESSING_STYLE"
ALLOWED = re.compile(
    "AUTHENTIK_(?:SECRET_KEY|COOKIE_DOMAIN|LOG_LEVEL|DISABLE_UPDATE_CHECK|DISABLE_STARTUP_ANALYTICS"
    "|ERROR_REPORTING__ENABLED"
    "|POSTGRESQL__(?:DIRECT__)?(?:HOST|PORT|NAME|USER|PASSWORD|SSLMODE|DISABLE_SERVER_SIDE_CURSORS)"
    "|BOOTSTRAP_(?:PASSWORD|PASSWORD_HASH|TOKEN|EMAIL)"
    "|WEB__(?:BASE_URL|PATH|WORKERS|THREADS)|WORKER__(?:PROCESSES|THREADS)|LISTEN__TRUSTED_PROXY_CIDRS"
    "|REPUTATION__EXPIRY|OUTPOSTS__(?:DISCOVER|DISABLE_EMBEDDED_OUTPOST)"
    "|EMAIL__(?:HOST|PORT|USERNAME|PASSWORD|USE_TLS|USE_SSL|TIMEOUT|FROM)"
    rf"|STORAGE__(?:(?:MEDIA|REPORTS)__)?(?:BACKEND|S3__(?:{STORAGE_KEYS}))"
    ")"
)
BOOLEANS = re.compile(r"USE_TLS$|USE_SSL$|DISCOVER$|DISABLE_|__ENABLED$")
HASH_ALGORITHMS = ("pbkdf2_sha256$", "argon2$", "bcrypt_sha256$", "scrypt$")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """The real container would not start, or would quietly ignore what was set."""


@dataclass(frozen=True)
class Settings:
    values: dict[str, str]
    trusted_proxies: tuple[Network, ...]

    def get(self, name: str, default: str = "") -> str:
        return self.values.get("AUTHENTIK_" + name, default)

    @property
    def bootstrap(self) -> dict[str, str]:
        prefix = "AUTHENTIK_BOOTSTRAP_"
        return {key.removeprefix(prefix): value for key, value in self.values.items() if key.startswith(prefix)}

    def conninfo(self) -> dict[str, str | int]:
        return {
            "host": self.get("POSTGRESQL__HOST", "localhost"),
            "port": int(self.get("POSTGRESQL__PORT", "5432")),
            "dbname": self.get("POSTGRESQL__NAME", "authentik"),
            "user": self.get("POSTGRESQL__USER", "authentik"),
            "password": self.get("POSTGRESQL__PASSWORD"),
            "sslmode": self.get("POSTGRESQL__SSLMODE", "disable"),
            "connect_timeout": 3,
        }

    def trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self.trusted_proxies)


def load(environ: Mapping[str, str]) -> Settings:
    raw = {name: value for name, value in environ.items() if name.startswith("AUTHENTIK_")}
    for name in raw:
        _check_name(name)
    values = {name: _expand(name, value, environ) for name, value in raw.items()}
    _check_values(values)
    return Settings(values, _networks(values.get("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", DEFAULT_PROXIES)))


def _check_name(name: str) -> None:
    if name.endswith("_FILE"):
        raise SettingsError(f"{name}: Authentik has no _FILE suffix, use file:///path as the value")
    if not ALLOWED.fullmatch(name):
        raise SettingsError(f"{name}: unknown setting (the real Authentik would ignore it silently)")


def _expand(name: str, value: str, environ: Mapping[str, str]) -> str:
    url = urlsplit(value)
    if url.scheme not in ("file", "env"):
        return value
    if name.startswith("AUTHENTIK_BOOTSTRAP_"):
        raise SettingsError(f"{name}: file:// and env:// are not expanded for bootstrap variables")
    found = _read(Path(url.path)) if url.scheme == "file" else environ.get(url.netloc)
    if found is None and not url.query:
        raise SettingsError(f"{name}: {value} cannot be read and has no fallback")
    return url.query if found is None else found


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _check_values(values: Mapping[str, str]) -> None:
    for name in ("AUTHENTIK_SECRET_KEY", "AUTHENTIK_POSTGRESQL__PASSWORD"):
        if not values.get(name):
            raise SettingsError(f"{name} is missing or empty")
    if len(values["AUTHENTIK_POSTGRESQL__PASSWORD"]) > 99:
        raise SettingsError("AUTHENTIK_POSTGRESQL__PASSWORD is longer than 99 characters")
    for name, value in values.items():
        if BOOLEANS.search(name) and value.lower() not in ("true", "false"):
            raise SettingsError(f"{name}: {value!r} is not true or false")
    _check_bootstrap(values)
    _check_urls(values)
    if all(values.get(f"AUTHENTIK_EMAIL__USE_{kind}", "").lower() == "true" for kind in ("TLS", "SSL")):
        raise SettingsError("AUTHENTIK_EMAIL__USE_TLS and AUTHENTIK_EMAIL__USE_SSL exclude each other")


def _check_bootstrap(values: Mapping[str, str]) -> None:
    hashed = values.get("AUTHENTIK_BOOTSTRAP_PASSWORD_HASH")
    if hashed and values.get("AUTHENTIK_BOOTSTRAP_PASSWORD"):
        raise SettingsError("AUTHENTIK_BOOTSTRAP_PASSWORD and ..._PASSWORD_HASH exclude each other")
    if hashed and not hashed.startswith(HASH_ALGORITHMS):
        raise SettingsError("AUTHENTIK_BOOTSTRAP_PASSWORD_HASH is not a Django hash (a `$` lost in Compose?)")


def _check_urls(values: Mapping[str, str]) -> None:
    base = values.get("AUTHENTIK_WEB__BASE_URL")
    if base is None:
        return
    url = urlsplit(base)
    if url.scheme not in ("http", "https") or not url.netloc or url.path or url.query:
        raise SettingsError(f"AUTHENTIK_WEB__BASE_URL: {base!r} must be scheme and host only")


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS: {error}") from error
