"""From a few answers to a commented site file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from kmuctl import SITE_FILE, assets
from kmuctl.model.errors import ConfigError, Problems
from kmuctl.model.host import Reader
from kmuctl.model.site import TRIAL_DOMAIN, check_site, read_site
from kmuctl.model.stack import Stack
from kmuctl.model.values import ascii_domain, free_text, mail_address, user_name
from kmuctl.operations.render import tojson
from kmuctl.services import NAMES, stack_of

IGNORED = ("secrets.env", "rendered/", "data/", "state/")
TEMPLATE = "templates/kmu.toml.j2"
HINT = "mend these options; `kmuctl init` on a terminal asks for what is missing"
INSIDE = tuple(
    IPv4Network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8")
)
"""Networks whose addresses nobody on the internet can reach; Python's `is_private` knows more than these."""

Answers = Mapping[str, str]
"""Values by their key path in the site file."""
FLAGS = {
    "domain": "--domain", "name": "--name", "language": "--language", "timezone": "--timezone",
    "admin.username": "--admin-user", "admin.name": "--admin-name", "admin.email": "--admin-email",
    "host.address": "--host", "host.folder": "--folder", "host.ipv4": "--ipv4", "tls.mode": "--tls",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask, for a key of the site file."""

    key: str
    text: str
    check: Callable[[str], str]


QUESTIONS = (
    Question("domain", "Domain of the company", ascii_domain),
    Question("name", "Name of the company", free_text),
    Question("admin.username", "Your sign-on name", user_name),
    Question("admin.name", "Your full name", free_text),
    Question("admin.email", "A mail address that reaches you when this server is down", mail_address),
)
DEFAULTS = {"tls.mode": "acme"}
TRIAL = {
    "domain": TRIAL_DOMAIN,
    "name": "Trial GmbH",
    "admin.username": "trial",
    "admin.name": "Trial User",
    "admin.email": f"trial@{TRIAL_DOMAIN}",
    "tls.mode": "internal",
}


def require_room(directory: Path) -> None:
    """Before anything is asked: a site file can be written here, and none is there."""
    present = next(path for path in (directory, *directory.absolute().parents) if os.access(path, os.F_OK))
    if not present.is_dir():
        raise ConfigError(f"`{present}` is not a folder", hint="choose another --directory")
    if not os.access(present, os.W_OK | os.X_OK):
        raise ConfigError(f"this user may not write in `{present}`", hint="use sudo, or choose another --directory")
    if (directory / SITE_FILE).exists():
        raise ConfigError(f"`{directory / SITE_FILE}` exists", hint="edit it, or choose another --directory")


def complete(given: Answers, ask: Callable[[Question], str] | None) -> dict[str, str]:
    """Every answer: given ones are checked, then the rest is asked for. Raises Problems with all of them."""
    if ask is None:
        _check(given)
        return dict(given)
    _check(given, incomplete=True)
    answers = {**given, **{question.key: ask(question) for question in QUESTIONS if question.key not in given}}
    _check(answers)
    return answers


def _check(answers: Answers, *, incomplete: bool = False) -> None:
    """The site file's own rules, told with the names of the command line."""
    try:
        check_site(_tables(answers), NAMES, path=SITE_FILE)
    except Problems as error:
        faults = [line.partition(": ") for line in error.found]
        found = [f"{FLAGS[key]}: {words}" for key, _, words in faults if key in answers or not incomplete]
        if found:
            raise Problems("cannot make a site file", found, hint=HINT) from None


def _tables(answers: Answers) -> dict[str, Any]:
    data: dict[str, Any] = {"admin": {}}
    for path, value in answers.items():
        table, _, key = path.rpartition(".")
        (data.setdefault(table, {}) if table else data)[key] = value
    return data


def public_address(host: Reader) -> str:
    """The address that this machine uses towards the internet; asks the routing table, sends nothing."""
    answer = host.query(("ip", "-json", "-4", "route", "get", "9.9.9.9"))
    routes = json.loads(answer.stdout) if answer.code == 0 and answer.stdout.strip() else []
    return str(routes[0].get("prefsrc", "")) if routes else ""


def named_address(host: str) -> str:
    """The IPv4 address in `ssh://root@203.0.113.7:22`; "" where a name or another kind of address stands."""
    found = re.fullmatch(r"ssh://(?:[^@]+@)?(\d+(?:\.\d+){3})(?::\d+)?", host)
    return found[1] if found else ""


def reachable(address: str) -> bool:
    """Whether the internet can find this address."""
    return not any(IPv4Address(address) in network for network in INSIDE)


def site_text(answers: Answers) -> str:
    """The site file, commented. TOML's basic strings are JSON's."""
    environment = Environment(  # noqa: S701 (TOML, and each value is quoted)
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["tojson"] = tojson
    return environment.from_string(assets.sources()[TEMPLATE]).render(_tables(answers))


def write_site(directory: Path, answers: Answers) -> Stack:
    """Write `kmu.toml` and `.gitignore`, both or none; the stack that the file describes. Never overwrites one."""
    path, text = directory / SITE_FILE, site_text(answers)
    stack = stack_of(read_site(text, NAMES, path=str(path)))
    try:
        with ExitStack() as undo:
            directory.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:
                undo.callback(path.unlink)
                stream.write(text)
            _ignore(directory / ".gitignore")
            undo.pop_all()
    except OSError as error:
        raise ConfigError(
            f"cannot write `{error.filename or path}`: {error.strerror}", hint="use sudo, or choose another --directory"
        ) from None
    return stack


def _ignore(path: Path) -> None:
    """Secrets and state never reach git; what is there stays as it is, in whatever encoding."""
    present = path.read_bytes() if path.exists() else b""
    missing = [line for line in IGNORED if line.encode() not in present.splitlines()]
    start = "" if not present or present.endswith(b"\n") else "\n"
    if missing:
        with path.open("ab") as stream:
            stream.write((start + "".join(f"{line}\n" for line in missing)).encode())


def hosts_lines(stack: Stack, address: str = "127.0.0.1") -> list[str]:
    """Lines for /etc/hosts that lead a browser on this machine to the trial site."""
    return [f"{address} {name}" for name in stack.hosts()]
