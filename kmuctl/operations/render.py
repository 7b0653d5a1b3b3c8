"""From a stack to its files. Pure: the same stack and secrets give the same bytes; no clock, host or network."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import formataddr
from functools import cache
from pathlib import PurePosixPath

from jinja2 import DictLoader, Environment, StrictUndefined

from kmuctl import assets
from kmuctl.model.secrets import Secret
from kmuctl.model.service import Service
from kmuctl.model.stack import Stack
from kmuctl.operations import compose
from kmuctl.operations.compose import Definition
from kmuctl.services import CATALOG

OWN = sorted({compose.FILE, "secrets", *assets.FOLDERS, *(service.name for service in CATALOG)})
"""The names at the top of a rendered tree: whatever else lies there is not ours to touch."""
FINGERPRINT_KEY = "authentik_secret_key"
SECRET_FILE, PLAIN_FILE, SCRIPT = 0o600, 0o644, 0o755
ROOT = 0


@dataclass(frozen=True, slots=True)
class File:
    """One rendered file. A file with a secret inside is readable by its owner alone."""

    content: bytes
    service: str
    mode: int = PLAIN_FILE
    uid: int = ROOT


@dataclass(frozen=True, slots=True)
class Rendered:
    """Every file by its path below `rendered/`, sorted, the containers that `compose.yaml` defines, and their files."""

    files: dict[str, File]
    containers: dict[str, Definition]
    mounted: dict[str, tuple[str, ...]]
    """Paths of the files that each container reads when it starts."""


def render(stack: Stack, secrets: Mapping[str, Secret], sources: Mapping[str, str] | None = None) -> Rendered:
    """All files of the stack. `sources` are the templates by path, the project's own unless given."""
    environment = _own_environment() if sources is None else _environment(sources)
    files: dict[str, File] = {}
    fragments: dict[str, str] = {}
    for path in environment.list_templates(extensions=("j2",)):
        service = _owner(path, stack)
        if service is None:
            continue
        text, has_secret = _fill(environment, path, stack, service, secrets)
        if path.startswith("compose/"):
            fragments[service.name] = text
        else:
            files[_target(path)] = _file(path, text, service, has_secret)
    project = compose.assemble(stack, fragments, {path: file.content for path, file in files.items()}, secrets)
    files |= {
        grant.path: File(grant.content, grant.service.name, SECRET_FILE, grant.container.uid)
        for grant in project.grants
    }
    files[compose.FILE] = File(project.text.encode(), "project")
    return Rendered(dict(sorted(files.items())), project.containers, project.mounted)


@cache
def _own_environment() -> Environment:
    """The project's templates, compiled once: `render --against` needs them twice."""
    return _environment(assets.sources())


def _environment(sources: Mapping[str, str]) -> Environment:
    environment = Environment(  # noqa: S701 (no HTML from strangers; HTML templates escape with |e)
        loader=DictLoader(sources),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"tojson": tojson, "php": php, "sender": sender}
    return environment


def tojson(value: object) -> str:
    """The value for JSON, YAML and TOML alike; Jinja's own filter would escape text as web pages need it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def php(text: str) -> str:
    """A PHP string literal; single quotes know only two escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def sender(name: str, address: str) -> str:
    """A mailbox for a From line, in ASCII: a program that writes headers itself would encode the address too."""
    return formataddr((name, address))


def _owner(path: str, stack: Stack) -> Service | None:
    """The service whose template this is; None when it is switched off."""
    folder, *rest = PurePosixPath(path).parts
    stem = rest[-1].split(".")[0]
    name = {"compose": stem, "templates": rest[0], "blueprints": "authentik"}.get(folder, folder)
    if folder == "blueprints" and not stem[0].isdigit() and stem not in stack:
        return None
    return stack.get(name)


def _target(path: str) -> str:
    return path.removeprefix("templates/").removesuffix(".j2")


def _file(path: str, text: str, service: Service, has_secret: bool) -> File:
    """Environment files are read by Compose as root, all others by the container's own user."""
    if not has_secret:
        return File(text.encode(), service.name, SCRIPT if _target(path).endswith(".sh") else PLAIN_FILE)
    uid = ROOT if _target(path).endswith(".env") else service.containers[0].uid
    return File(text.encode(), service.name, SECRET_FILE, uid)


def _fill(
    environment: Environment, path: str, stack: Stack, service: Service, secrets: Mapping[str, Secret]
) -> tuple[str, bool]:
    used: set[str] = set()
    allowed = stack.readable(service)

    def secret(name: str) -> str:
        if name not in allowed:
            raise LookupError(f"`{path}` uses `{name}`, which {service.name} does not declare")
        used.add(name)
        return secrets[name].reveal()

    def fingerprint(*names: str) -> str:
        """Changes with the secrets, and says nothing of them to whoever lacks Authentik's own key."""
        return _fingerprint(secrets[FINGERPRINT_KEY], [secrets[name] for name in sorted(names)])

    text = environment.get_template(path).render(
        site=stack.site, stack=stack, service=service, secret=secret, fingerprint=fingerprint
    )
    return text, bool(used)


def _fingerprint(key: Secret, values: Iterable[Secret]) -> str:
    joined = "\0".join(value.reveal() for value in values)
    return hmac.digest(key.reveal().encode(), joined.encode(), "sha256").hex()[:16]
