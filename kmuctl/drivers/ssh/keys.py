"""Signing in: the agent's keys, those that the settings name first; then those in files."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kmuctl.drivers.ssh.people import People
from kmuctl.drivers.ssh.settings import Settings
from kmuctl.model.errors import HostError

if TYPE_CHECKING:
    from paramiko import PKey, Transport

ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Memory:
    """What a connection leaves for the next one to the same servers: nobody is asked twice."""

    files: dict[Path, PKey] = field(default_factory=dict)
    """Keys that could be read, some with a passphrase."""
    taken: dict[Settings, bytes] = field(default_factory=dict)
    """The public half of the key that each server took."""


def sign_in(transport: Transport, settings: Settings, people: People, memory: Memory) -> None:
    """With the first key that the server takes, or with the one that it took before.

    Raises HostError with what was tried.
    """
    tried: list[str] = []
    before = memory.taken.get(settings)
    with closing(_candidates(settings, people, memory, tried)) as candidates:
        for name, key in candidates:
            if before in (None, key.asbytes()) and _takes(transport, settings, name, key, tried):
                memory.taken[settings] = key.asbytes()
                return
    _refuse(settings, tried)


def _candidates(
    settings: Settings, people: People, memory: Memory, tried: list[str]
) -> Generator[tuple[str, PKey], None, None]:
    """As OpenSSH orders them, because a server listens to a few only: what the agent holds of the named ones first."""
    public = {path: _public(path) for path in settings.keys}
    with _agent(settings) as held:
        named = [*public.values()]
        for key in sorted(held, key=lambda key: _place(named, key.asbytes())):
            if settings.agent_keys or key.asbytes() in named:
                yield f"the agent's {getattr(key, 'comment', '') or key.get_name()}", key
        blobs = {key.asbytes() for key in held}
    for path in (path for path in settings.keys if public[path] not in blobs):
        found = memory.files.get(path) or _from_file(path, settings, people, tried)
        if found:
            memory.files[path] = found
            yield f"`{path}`", found


def _place(named: Sequence[bytes | None], blob: bytes) -> int:
    return named.index(blob) if blob in named else len(named)


def _takes(transport: Transport, settings: Settings, name: str, key: PKey, tried: list[str]) -> bool:
    from paramiko import BadAuthenticationType, SSHException

    try:
        if transport.auth_publickey(settings.user, key):
            raise HostError(f"{settings} asks for more than a key: kmuctl cannot answer", hint=_hint(settings))
    except BadAuthenticationType as error:
        raise HostError(f"{settings} takes no keys, only: {', '.join(error.allowed_types)}") from None
    except SSHException:
        tried.append(f"{name}: refused")
        if not transport.is_active():
            raise _hung_up(settings, tried) from None
        return False
    return True


def _hung_up(settings: Settings, tried: list[str]) -> HostError:
    """It counts the keys that it refuses (MaxAuthTries)."""
    return HostError(
        f"{settings} hung up before the right key came: {'; '.join(tried)}",
        hint="name the key: `IdentityFile` and `IdentitiesOnly yes` for this server in ~/.ssh/config",
    )


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
