"""Refuse what the real image would silently ignore: unknown, removed or misspelt variables and values."""

import ipaddress
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

SYSTEM = {
    "PATH",
    "HOME",
    "HOSTNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TERM",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "DEBIAN_FRONTEND",
}
BOOLEAN_NAME = re.compile(r"(^|_)(ENABLE|DISABLE)_|_ENABLED$")
BOOLEANS = {"1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False", ""}
NUMERIC_SWITCHES = {
    "DISABLE_HTTPS",
    "ENABLE_LETSENCRYPT",
    "LETSENCRYPT_USE_STAGING",
    "ENABLE_JAAS_COMPONENTS",
}
AUTH_TYPES = {"internal", "jwt", "ldap", "matrix", "hybrid_matrix_token"}
SECRET_NAME = re.compile(r"(_PASSWORD|_SECRET|^TURN_CREDENTIALS)$")
PATTERNS = {
    "PUBLIC_URL": r"https://[a-z0-9.:-]+",
    "XMPP_BOSH_URL_BASE": r"http://[a-z0-9.-]+:\d+",
    "JICOFO_MAX_MEMORY": r"\d+[mg]",
    "VIDEOBRIDGE_MAX_MEMORY": r"\d+[mg]",
    "JVB_PORT": r"\d{1,5}",
    "XMPP_PORT": r"\d{1,5}",
    "TOKEN_AUTH_URL": r"https://[^'\s]+",
}


def fatal(message: str, code: int = 1) -> NoReturn:
    print(f"FATAL ERROR: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def read_variables(path: Path) -> dict[str, str]:
    lines = (line.split() for line in path.read_text().splitlines() if not line.startswith("#"))
    return {line[0]: line[1] for line in lines}


def name_problem(name: str, known: Mapping[str, str]) -> str | None:
    if known.get(name) == "refused":
        return f"{name}: removed from Jitsi or read by nothing"
    return None if name in known else f"{name}: this container does not read it"


def value_problem(name: str, value: str, kind: str) -> str | None:
    if name in NUMERIC_SWITCHES and value not in {"0", "1"}:
        return f"{name}={value!r}: must be literally 1 or 0"
    if (kind == "boolean" or BOOLEAN_NAME.search(name)) and value not in BOOLEANS:
        return f"{name}={value!r}: any such text counts as true; write 1 or 0"
    if name.endswith("AUTH_TYPE") and "JWT_" not in name and value not in AUTH_TYPES:
        return f"{name}={value!r}: must be one of {', '.join(sorted(AUTH_TYPES))}"
    if SECRET_NAME.search(name) and not re.fullmatch(r"[A-Za-z0-9_-]*", value):
        return f"{name}: only A-Z a-z 0-9 _ - survive the templates"
    if name in PATTERNS and value and not re.fullmatch(PATTERNS[name], value):
        return f"{name}={value!r}: does not look like {PATTERNS[name]}"
    return addresses_problem(name, value) if name == "JVB_ADVERTISE_IPS" else None


def addresses_problem(name: str, value: str) -> str | None:
    for entry in filter(None, value.split(",")):
        address, _, port = entry.partition("#")
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return f"{name}: {address!r} is no IP address"
        if port and not port.isdigit():
            return f"{name}: {port!r} is no port"
    return None


def problems(environment: Mapping[str, str], known: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for name, value in sorted(environment.items()):
        if name in SYSTEM:
            continue
        problem = name_problem(name, known) or value_problem(name, value, known[name])
        found += [problem] if problem else []
    return found


def check_environment(variables: Path) -> None:
    found = problems(os.environ, read_variables(variables))
    for problem in found:
        print(f"FATAL ERROR: {problem}", file=sys.stderr, flush=True)
    if found:
        raise SystemExit(1)


def check_run_folder() -> None:
    """The real /init needs /run to be its own (a setuid helper chowns it, unless no-new-privileges) and executable."""
    status = Path("/run").stat()
    if status.st_uid != os.getuid() or not status.st_mode & stat.S_IWUSR:
        fatal("/run does not belong to uid 1000; mount a tmpfs with uid=1000,gid=1000,mode=0755,exec", 100)
    if os.statvfs("/run").f_flag & os.ST_NOEXEC:
        fatal("/run is mounted noexec: s6 services live there", 100)


def check_config_folder(allowed: str) -> None:
    """A file in /config with a wrong name is never read by the real image."""
    folder = Path("/config")
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = str(path.relative_to(folder))
        if path.is_file() and not re.fullmatch(allowed, name):
            fatal(f"/config/{name}: this container reads no such file")
