"""What fail2ban is told: jails, filters and the action, as files below /etc/fail2ban."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from kmuctl.model.stack import Stack
from kmuctl.operations.harden.bridges import EXACT
from kmuctl.operations.harden.templates import below, fill

FOLDER = "/etc/fail2ban"


@dataclass(frozen=True, slots=True)
class Jail:
    name: str
    most: int
    """So many lines of one address ..."""
    within: str
    ban: str


SSH = "sshd"
WEB = (
    # a forgotten tab asks every few seconds; a person meets no probe's path by chance, and three even less
    Jail("kmuctl-denied", most=100, within="5m", ban="10m"),
    Jail("kmuctl-probes", most=3, within="10m", ban="1d"),
    # an office behind one address, on the morning after everybody's password expired
    Jail("kmuctl-signin", most=60, within="10m", ban="10m"),
)


def web_jails(stack: Stack) -> tuple[Jail, ...]:
    """Behind a proxy all packets come from it: a ban would drop everybody, or nobody."""
    return () if stack.site.network.trusted_proxies else WEB


def names(stack: Stack) -> tuple[str, ...]:
    return (SSH, *(jail.name for jail in web_jails(stack)))


def log(stack: Stack) -> str:
    """Caddy's, as the host sees it."""
    return f"{stack.data('caddy', 'logs')}/access.log"


def digest(stack: Stack) -> str:
    """Of all files; the running server says which one it has read."""
    content = "".join(_texts(stack, loaded="").values())
    return sha256(content.encode()).hexdigest()[:16]


def files(stack: Stack) -> dict[str, bytes]:
    """By path on the host."""
    return {path: text.encode() for path, text in _texts(stack, loaded=digest(stack)).items()}


def _texts(stack: Stack, *, loaded: str) -> dict[str, str]:
    known = {
        "loaded": loaded,
        "log": log(stack),
        "web_jails": web_jails(stack),
        "bridges": EXACT,
        "spared": _spared(stack),
        "foreign": sorted(stack.site.fqdn(host) for host in stack.site.sites),
    }
    return {f"{FOLDER}/{path.removeprefix('fail2ban/')}": fill(path, **known) for path in below("fail2ban")}


def _spared(stack: Stack) -> list[str]:
    site = stack.site
    own = [site.host.ipv4] if site.host.ipv4 else []
    return [*dict.fromkeys((site.network.subnet, *own, *site.harden.allow, *site.network.trusted_proxies))]
