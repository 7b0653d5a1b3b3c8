"""Is this the server that it was? Its key is compared with the files that OpenSSH keeps, strictly."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

from kmuctl.drivers.ssh.people import People
from kmuctl.drivers.ssh.settings import Settings
from kmuctl.model.errors import HostError

if TYPE_CHECKING:
    from paramiko import PKey

REVOKED, AUTHORITY = "@revoked", "@cert-authority"
RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""How an RSA key is agreed on; in the files it is `ssh-rsa`."""


class KnownHosts:
    def __init__(self, settings: Settings, vouched: Container[bytes] = ()) -> None:
        self._settings = settings
        self._vouched = vouched
        """Keys that this very server has shown on a connection that stands."""
        self._file = settings.known_hosts[0].expanduser()
        self._known: list[PKey] = []
        """All of this server: it may have several, also of one kind."""
        self._revoked: set[bytes] = set()
        for path in (*settings.known_hosts, *settings.all_know):
            self._load(path.expanduser())

    def _load(self, path: Path) -> None:
        """A line that paramiko cannot read is one that says nothing."""
        for line in _lines(path):
            mark, rest = _marked(line)
            if mark == AUTHORITY or (entry := _entry(rest)) is None:
                continue
            names, key = entry
            if not _names(names, self._settings.known_as):
                continue
            if mark == REVOKED:
                self._revoked.add(key.asbytes())
            else:
                self._known.append(key)

    def kinds(self) -> list[str]:
        """Kinds of keys that are known of this server: it is asked for one of them first."""
        kinds = dict.fromkeys(key.get_name() for key in self._known)
        return [name for kind in kinds for name in (RSA if kind == "ssh-rsa" else (kind,))]

    def check(self, key: PKey, people: People) -> None:
        """Raises HostError unless it is a known one, or a first one that somebody vouches for."""
        blob = key.asbytes()
        if blob in self._revoked:
            raise HostError(
                f"`{self._settings.known_as}` shows the key {_fingerprint(key)}, which is revoked",
                hint="somebody else may have this key: do not go on before whoever marked it as `@revoked` is asked",
            )
        if blob in [known.asbytes() for known in self._known]:
            return
        if blob in self._vouched:
            self._note(key)
        elif self._known:
            same_kind = [known for known in self._known if known.get_name() == key.get_name()]
            self._refuse(key, next(iter(same_kind or self._known)))
        else:
            self._meet(key, people)

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


def _marked(line: str) -> tuple[str, str]:
    """What stands before the names, and the rest."""
    line = line.strip()
    if not line.startswith("@"):
        return "", line
    mark, _, rest = line.partition(" ")
    return mark, rest.strip()


def _entry(line: str) -> tuple[list[str], PKey] | None:
    from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

    if not line or line.startswith("#"):
        return None
    try:
        entry = HostKeyEntry.from_line(line)
    except (InvalidHostKey, ValueError):
        return None
    return (entry.hostnames or [], entry.key) if entry else None


def _names(patterns: list[str], name: str) -> bool:
    """As in sshd(8): hashed names, `*` and `?`; one with `!` before it takes the name out again."""
    from paramiko import HostKeys

    if any(_fits(pattern[1:], name) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(
        HostKeys.hash_host(name, pattern) == pattern if pattern.startswith("|1|") else _fits(pattern, name)
        for pattern in patterns
    )


def _fits(pattern: str, name: str) -> bool:
    fitting = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(fitting, name, re.IGNORECASE) is not None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostError(f"cannot read `{path}`: {error.strerror}") from None


def _fingerprint(key: PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"
