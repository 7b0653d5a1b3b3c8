"""Is this the server that it was? Its key is compared with the files that OpenSSH keeps, strictly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kmuctl.drivers.ssh.people import People
from kmuctl.drivers.ssh.settings import Settings
from kmuctl.model.errors import HostError

if TYPE_CHECKING:
    from paramiko import HostKeys, PKey

SYSTEM = Path("/etc/ssh/ssh_known_hosts")
MARKS = ("@revoked", "@cert-authority")
RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""How an RSA key is agreed on; in the files it is `ssh-rsa`."""


class KnownHosts:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = settings.known_hosts[0].expanduser()
        self._known = _load([*(path.expanduser() for path in settings.known_hosts), SYSTEM])

    def kinds(self) -> list[str]:
        """Kinds of keys that are known of this server: it is asked for one of them first."""
        known = self._known.lookup(self._settings.known_as)
        return [name for kind in known or () for name in (RSA if kind == "ssh-rsa" else (kind,))]

    def check(self, key: PKey, people: People) -> None:
        """Raises HostError unless it is the known one, or a first one that somebody vouches for."""
        name = self._settings.known_as
        known = self._known.lookup(name)
        if not known:
            self._meet(key, people)
        elif not self._known.check(name, key):
            self._refuse(key, known.get(key.get_name()) or next(iter(known.values())))

    def _meet(self, key: PKey, people: People) -> None:
        server = f"`{self._settings.known_as}` is not known yet; its key is {_fingerprint(key)}"
        question = f"{server}.\nCompare it with what the provider's console shows. Is it this one?"
        if not people.accepts_new_keys and not people.agree(question):
            raise HostError(
                server,
                hint="compare it with the one on the provider's console; if it is that, add `--accept-new-host-key`",
            )
        self._note(key)

    def _refuse(self, key: PKey, known: PKey) -> None:
        raise HostError(
            f"`{self._settings.known_as}` shows another key than before: now {_fingerprint(key)}, "
            f"known is {_fingerprint(known)}. Somebody may be listening in",
            hint="only if the server was set up anew: "
            f"`ssh-keygen -f '{self._file}' -R '{self._settings.known_as}'`, and the same command again",
        )

    def _note(self, key: PKey) -> None:
        line = f"{self._settings.known_as} {key.get_name()} {key.get_base64()}\n"
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+") as stream:
                text = stream.read()
                stream.write(("\n" if text and not text.endswith("\n") else "") + line)
        except OSError as error:
            raise HostError(f"cannot write `{self._file}`: {error.strerror}") from None


def _load(paths: list[Path]) -> HostKeys:
    """A line that paramiko cannot read is one that says nothing. What is marked as revoked is no known key."""
    from paramiko import HostKeys
    from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

    known = HostKeys()
    for line in (line.strip() for path in paths for line in _lines(path)):
        if not line or line.startswith(("#", *MARKS)):
            continue
        try:
            entry = HostKeyEntry.from_line(line)
        except (InvalidHostKey, ValueError):
            continue
        if entry is not None:
            for name in entry.hostnames or ():
                known.add(name, entry.key.get_name(), entry.key)
    return known


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostError(f"cannot read `{path}`: {error.strerror}") from None


def _fingerprint(key: PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"
