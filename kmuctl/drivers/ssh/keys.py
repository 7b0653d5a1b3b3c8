"""Signing in: the agent's keys, then those in files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kmuctl.drivers.ssh.people import People
from kmuctl.drivers.ssh.settings import Settings
from kmuctl.model.errors import HostError

if TYPE_CHECKING:
    from paramiko import PKey, Transport

ATTEMPTS = 3


def sign_in(transport: Transport, settings: Settings, people: People, known: PKey | None = None) -> PKey | None:
    """With the first key that the server takes, or with a `known` one; that of a file is given back.

    Raises HostError with what was tried.
    """
    tried: list[str] = []
    if known:
        return known if _takes(transport, settings, "the same key", known, tried) else _refuse(settings, tried)
    with _agent(settings) as held:
        public = {path: _public(path) for path in settings.keys}
        for key in held:
            name = f"the agent's {getattr(key, 'comment', '') or key.get_name()}"
            wanted = settings.agent_keys or key.asbytes() in public.values()
            if wanted and _takes(transport, settings, name, key, tried):
                return None
        blobs = {key.asbytes() for key in held}
    for path in (path for path in settings.keys if public[path] not in blobs):
        found = _from_file(path, settings, people, tried)
        if found and _takes(transport, settings, f"`{path}`", found, tried):
            return found
    return _refuse(settings, tried)


def _takes(transport: Transport, settings: Settings, name: str, key: PKey, tried: list[str]) -> bool:
    from paramiko import AuthenticationException, BadAuthenticationType

    try:
        if transport.auth_publickey(settings.user, key):
            raise HostError(f"{settings} asks for more than a key: kmuctl cannot answer", hint=_hint(settings))
    except BadAuthenticationType as error:
        raise HostError(f"{settings} takes no keys, only: {', '.join(error.allowed_types)}") from None
    except AuthenticationException:
        tried.append(f"{name}: refused")
        return False
    return True


def _refuse(settings: Settings, tried: list[str]) -> NoReturn:
    said = "; ".join(tried) or "there is none"
    raise HostError(f"{settings} lets us in with none of the keys: {said}", hint=_hint(settings))


def _hint(settings: Settings) -> str:
    port = f"-p {settings.port} " if settings.port != 22 else ""
    return f"`ssh {port}{settings.user}@{settings.host}` must work without a password: `ssh-copy-id` brings a key there"


@contextmanager
def _agent(settings: Settings) -> Iterator[tuple[PKey, ...]]:
    """The keys that it holds; none without one."""
    from paramiko import Agent, SSHException

    if not settings.agent:
        yield ()
        return
    try:
        agent = Agent()
    except (SSHException, OSError):
        yield ()
        return
    try:
        yield tuple(agent.get_keys())
    finally:
        agent.close()


def _public(path: Path) -> bytes | None:
    """The public half beside it, as the agent names keys."""
    from base64 import b64decode

    try:
        words = Path(f"{path}.pub").read_text(encoding="utf-8").split()
        return b64decode(words[1])
    except (OSError, ValueError, IndexError):
        return None


def _from_file(path: Path, settings: Settings, people: People, tried: list[str]) -> PKey | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko import PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    if not path.exists():
        if settings.named_keys:
            tried.append(f"`{path}`: is not there")
        return None
    try:
        return PKey.from_path(path)
    except (TypeError, SSHException):
        return _unlocked(path, people)
    except OSError as error:
        tried.append(f"`{path}`: {error.strerror}")
    except (ValueError, UnknownKeyType, UnsupportedAlgorithm):
        tried.append(f"`{path}`: not a private key that can be read")
    return None


def _unlocked(path: Path, people: People) -> PKey:
    from paramiko import PKey, SSHException

    for _ in range(ATTEMPTS):
        passphrase = people.secret(f"Passphrase of `{path}`")
        if passphrase is None:
            raise HostError(
                f"the key `{path}` has a passphrase, and nobody is here to type it",
                hint=f"`eval $(ssh-agent) && ssh-add {path}` first",
            )
        try:
            return PKey.from_path(path, passphrase.encode())  # type: ignore[arg-type]
        except (ValueError, SSHException):
            continue
    raise HostError(f"that is not the passphrase of `{path}`", hint=f"`ssh-add {path}` tells whether it is")
