"""How a server is reached: its address in the site file, and for the rest what OpenSSH's own file says."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmuctl.model.errors import ConfigError

CONFIG = Path("~/.ssh/config")
KNOWN_HOSTS = (Path("~/.ssh/known_hosts"), Path("~/.ssh/known_hosts2"))
ALL_KNOW = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
KEYS = ("id_rsa", "id_ecdsa", "id_ed25519")
"""What OpenSSH tries when nothing is said, of the kinds that paramiko reads."""
CONNECT_SECONDS = 15
MOST_INCLUDES = 16
"""OpenSSH's own limit of files within files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    name: str
    """As the admin calls it."""
    host: str
    port: int = 22
    user: str
    keys: tuple[Path, ...] = ()
    named_keys: bool = False
    """The keys were asked for by name: one of them that cannot be used is worth a word."""
    agent: bool = True
    agent_keys: bool = True
    """Also those keys of the agent that are none of `keys` (IdentitiesOnly no)."""
    jumps: tuple[str, ...] = ()
    """Addresses of the servers on the way, the nearest first."""
    command: str = ""
    """A program that is the connection (ProxyCommand)."""
    known_hosts: tuple[Path, ...] = KNOWN_HOSTS
    """This user's own; a new server is noted in the first."""
    all_know: tuple[Path, ...] = ALL_KNOW
    """This machine's, for all users (GlobalKnownHostsFile)."""
    alias: str = ""
    """Its name in those files, where it is another one (HostKeyAlias)."""
    seconds: int = CONNECT_SECONDS

    @property
    def place(self) -> str:
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    @property
    def known_as(self) -> str:
        return self.alias or self.place

    def __str__(self) -> str:
        return f"{self.user}@{self.place}"


def settings_of(address: str, *, config: Path = CONFIG) -> Settings:
    """What stands in the address wins over the file. `address` is `ssh://[USER@]HOST[:PORT]`, or without `ssh://`."""
    user, name, port = _parts(address)
    found = _lookup(config.expanduser(), name)
    jump = found.get("proxyjump", "none")
    keys = tuple(Path(path).expanduser() for path in found.get("identityfile", ()))
    agent = found.get("identityagent", "")
    return Settings(
        name=name, host=found.get("hostname", name), port=_port(port or found.get("port", "22")),
        user=user or found.get("user") or getpass.getuser(),
        keys=keys or tuple(Path("~/.ssh", key).expanduser() for key in KEYS), named_keys=bool(keys),
        agent=agent.lower() != "none", agent_keys=found.get("identitiesonly", "no") != "yes",
        jumps=() if jump.lower() == "none" else tuple(jump.split(",")),
        command="" if found.get("proxycommand", "none").lower() == "none" else found["proxycommand"],
        known_hosts=_paths(found.get("userknownhostsfile", "")) or KNOWN_HOSTS,
        all_know=_paths(found.get("globalknownhostsfile", "")) or ALL_KNOW, alias=found.get("hostkeyalias", ""),
        seconds=_seconds(found.get("connecttimeout", "")),
    )  # fmt: skip


def _parts(address: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(?:ssh://)?(?:([^@/]+)@)?(\[[^\]]+\]|[^:\[\]/]+)(?::(\d+))?/?", address)
    if not found:
        raise ConfigError(f"`{address}` is no address of a server", hint="like `ssh://root@203.0.113.7:22`")
    return found[1] or "", found[2].strip("[]"), found[3] or ""


def _lookup(path: Path, name: str) -> Mapping[str, Any]:
    import paramiko

    text = "\n".join(_lines(path, path.parent))
    try:
        return paramiko.SSHConfig.from_text(text).lookup(name)
    except (paramiko.SSHException, ValueError, ImportError) as error:
        raise ConfigError(f"`{path}` cannot be read as ssh does: {error}", hint="mend that file") from None


def _lines(path: Path, folder: Path, depth: int = 0) -> Iterator[str]:
    """The file's, with those that it includes in their places: paramiko reads one file only."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(f"cannot read `{path}`: {error.strerror}") from None
    for line in text.splitlines():
        included = re.fullmatch(r"\s*include[\s=]+(.+)", line, re.IGNORECASE)
        if included is None or depth == MOST_INCLUDES:
            yield line
            continue
        for pattern in included[1].split():
            place = folder / Path(pattern.strip('"')).expanduser()
            for found in sorted(Path("/").glob(str(place.absolute())[1:])):
                yield from _lines(found, folder, depth + 1)


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigError(f"`{text}` is no port of a server", hint="mend the address, or `Port` in ~/.ssh/config")
    return int(text)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(path) for path in text.split())


def _seconds(text: str) -> int:
    return int(text) if text.isdigit() and int(text) > 0 else CONNECT_SECONDS
