"""From a few answers to a commented site file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kmuctl.model.errors import ConfigError, problems
from kmuctl.model.host import Reader
from kmuctl.model.site import TRIAL_DOMAIN, ascii_domain, free_text, mail_address, read_site, user_name
from kmuctl.model.stack import Stack
from kmuctl.services import NAMES, stack_of

IGNORED = "secrets.env\nrendered/\ndata/\nstate/\n"
FILE = "kmu.toml"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask. `flag` is also the command line's option."""

    key: str
    text: str
    check: Callable[[str], str]

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")


QUESTIONS = (
    Question("domain", "Domain of the company", ascii_domain),
    Question("name", "Name of the company", free_text),
    Question("admin_user", "Your sign-on name", user_name),
    Question("admin_name", "Your full name", free_text),
    Question("admin_email", "A mail address that reaches you when this server is down", mail_address),
)
TRIAL = {
    "domain": TRIAL_DOMAIN,
    "name": "Trial GmbH",
    "admin_user": "trial",
    "admin_name": "Trial User",
    "admin_email": "trial@example.org",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What has a default and is asked of nobody."""

    host: str = "local"
    folder: str = "/opt/kmu"
    ipv4: str = ""
    tls: str = ""
    language: str = "de"
    timezone: str = "Europe/Berlin"


def complete(given: dict[str, str], ask: Callable[[Question], str] | None) -> dict[str, str]:
    """Every answer, checked: given ones first, the rest asked for. Raises ConfigError with all problems."""
    values: dict[str, str] = {}
    found: list[str] = []
    for question in QUESTIONS:
        text = given.get(question.key, "")
        if not text and ask:
            values[question.key] = ask(question)
        elif not text:
            found.append(f"{question.flag}: is missing")
        else:
            try:
                question.check(text)
                values[question.key] = text
            except ValueError as error:
                found.append(f"{question.flag}: {error}")
    if found:
        raise problems("cannot make a site file", found, hint="give these options, or run `kmuctl init` on a terminal")
    return values


def public_address(host: Reader) -> str:
    """The address that this machine uses towards the internet; asks the routing table, sends nothing."""
    answer = host.query(("ip", "-json", "-4", "route", "get", "9.9.9.9"))
    routes = json.loads(answer.stdout) if answer.code == 0 and answer.stdout.strip() else []
    return str(routes[0].get("prefsrc", "")) if routes else ""


def site_text(values: dict[str, str], settings: Settings) -> str:
    """The site file, commented. TOML's basic strings are JSON's."""
    text = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    ipv4 = f"ipv4    = {json.dumps(settings.ipv4)}" if settings.ipv4 else '# ipv4  = "203.0.113.7"'
    rest = "# the public address: in DNS, and told to callers by video and TURN"
    return f"""\
# The site of {values["name"]}: everything that the company decided. No secret belongs here, so commit it.
# `kmuctl render` shows what follows from it, `kmuctl up` makes it so.

domain   = {text["domain"]}
name     = {text["name"]}
language = {json.dumps(settings.language)}
timezone = {json.dumps(settings.timezone)}

[admin]                             # the first account, with all rights
username = {text["admin_user"]}
name     = {text["admin_name"]}
email    = {text["admin_email"]}

[host]
address = {json.dumps(settings.host):25} # or "ssh://root@203.0.113.7:22"
folder  = {json.dumps(settings.folder)}
{ipv4:35} {rest}

[tls]
# "acme", "internal" (own CA: trial, LAN), "files" (certificate and key), "off" (behind a proxy of yours)
mode = {json.dumps(settings.tls)}

[network]
# subnet = "10.231.112.0/20"        # for the containers; change it when it collides with the office or a VPN

[mail]
# relay = {{ host = "smtp.provider.example", port = 587, username = "..." }}   # when port 25 is closed

[branding]
# color = "#2a6f97"
# logo  = "https://www.acme.example/logo.svg"

[apps]                              # everything is on unless switched off here
# jitsi = false

[images]                            # other pinned images, by container
# caddy = "caddy:2.11.7"

[sites]                             # further pages behind the same door
# wiki = {{ upstream = "192.0.2.10:3000", login = true }}
"""


def write_site(directory: Path, values: dict[str, str], settings: Settings) -> Stack:
    """Write `kmu.toml` and `.gitignore`; the stack that the file describes. Raises ConfigError if one is there."""
    path = directory / FILE
    if path.exists():
        raise ConfigError(
            f"`{path}` exists", hint="edit it, or move it away first: kmuctl never overwrites a site file"
        )
    text = site_text(values, settings)
    stack = stack_of(read_site(text, NAMES, path=str(path)))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
        _ignore(directory / ".gitignore")
    except OSError as error:
        raise ConfigError(
            f"cannot write `{path}`: {error.strerror}", hint="choose another --directory, or use sudo"
        ) from None
    return stack


def _ignore(path: Path) -> None:
    """Secrets and state never reach git; lines that are there stay."""
    present = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in IGNORED.splitlines() if line not in present.splitlines()]
    if missing:
        path.write_text(present + ("" if not present or present.endswith("\n") else "\n") + "\n".join(missing) + "\n")


def hosts_lines(stack: Stack, address: str = "127.0.0.1") -> list[str]:
    """Lines for /etc/hosts that lead a browser on this machine to the trial site."""
    return [f"{address} {name}" for name in stack.hosts()]


def ca_certificate(stack: Stack) -> str:
    """Where Caddy keeps the root certificate of its own CA."""
    return f"{stack.site.host.folder}/data/caddy/data/caddy/pki/authorities/local/root.crt"
