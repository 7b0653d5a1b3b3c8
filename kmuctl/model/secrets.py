"""Secrets: values generated once on the host, kept in one 0600 file, addressed by name.

The file is `NAME=value` lines. A value may refer to another (`{{NAME}}`), and any secret may be given as
`NAME_FILE=/path` instead. Every consumer gets its values from `Secrets`, so one set of rules holds for all.
"""

from __future__ import annotations

import re
import secrets as random
import string
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import TYPE_CHECKING

from kmuctl.model.errors import ConfigError, Problems

if TYPE_CHECKING:
    from dotenv.parser import Binding

REFERENCE = re.compile(r"\{\{\s*([A-Za-z][A-Za-z0-9_]*)\s*\}\}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
PREVIOUS = "_previous"
"""Of the name under which an old value is kept until both sides know the new one."""
HINT = "mend the file by hand, or put back the copy from your backup; kmuctl overwrites no value"


class Secret:
    """Prints as stars wherever it ends up; `reveal()` is the one way out. No dataclass: `asdict` would show it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "********"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and random.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


class Secrets(Mapping[str, Secret]):
    """All values by lower-case name."""

    def __init__(self, values: Mapping[str, Secret]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Secret:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Placeholders(Mapping[str, Secret]):
    """Stands in for the values where they must not be known: `<secret:name>` for every name."""

    def __getitem__(self, name: str) -> Secret:
        return Secret(f"<secret:{name}>")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def password() -> str:
    """48 letters and digits, 285 bits: safe unquoted in every format that we render."""
    alphabet = string.ascii_letters + string.digits
    return "".join(random.choice(alphabet) for _ in range(48))


def signing_key() -> str:
    """A Synapse signing key, `ed25519 <version> <seed>` (upstream/matrix-coturn-caddy.md 1.2)."""
    version = "".join(random.choice(string.ascii_letters) for _ in range(4))
    return f"ed25519 a_{version} {b64encode(random.token_bytes(32)).decode().rstrip('=')}"


def parse(text: str, read_file: Callable[[str], bytes | None], *, path: str) -> Secrets:
    """The values of a secrets file, references expanded and `NAME_FILE` read.

    Raises ConfigError with every problem: unreadable lines, duplicate or empty values, both `NAME` and
    `NAME_FILE`, unknown references, cycles.
    """
    raw, found = _bindings(text)
    values, unread = _from_files(raw, read_file)
    expanded, loops = _expand(values)
    if faults := found + unread + loops:
        raise Problems(f"`{path}` is not a valid secrets file", faults, hint=HINT)
    return Secrets({name: Secret(value) for name, value in expanded.items()})


def append(text: str, new: Mapping[str, Secret]) -> str:
    """The secrets file with new values at its end; what stands in it stays as it is."""
    head = text if not text or text.endswith("\n") else text + "\n"
    return head + "".join(_assignment(name.upper(), value.reveal()) for name, value in new.items())


def exchange(text: str, name: str, new: Secret) -> str:
    """The secrets file with another value for one name, and the old one beside it as `NAME_PREVIOUS`.

    Raises ConfigError when the value is not the file's own: it stands elsewhere, or refers to another.
    """
    key = name.upper()
    line, old = _own_line(text, key)
    return _replaced(text, line, f"{_assignment(key, new.reveal())}{_assignment(key + PREVIOUS.upper(), old)}")


def assign(text: str, name: str, value: str) -> str:
    """The secrets file with another value for one name; the old one is of no use to anybody."""
    line, _ = _own_line(text, name.upper())
    return _replaced(text, line, _assignment(name.upper(), value))


def _own_line(text: str, key: str) -> tuple[str, str]:
    for binding in _lines(text):
        if (binding.key or "").upper() == key and not REFERENCE.search(binding.value or ""):
            return binding.original.string, binding.value or ""
    raise ConfigError(
        f"{key} has no value of its own in the secrets file",
        hint="it comes from another file, or refers to another secret: change it there, then run `kmuctl up`",
    )


def _assignment(key: str, value: str) -> str:
    return f"{key}={_quote(value)}\n"


def _replaced(text: str, line: str, new: str) -> str:
    """Empty lines before the line belong to it, and stay."""
    return text.replace(line, line[: len(line) - len(line.lstrip())] + new, 1)


def settled(text: str) -> str:
    """The secrets file without old values."""
    return "".join(
        binding.original.string
        for binding in _lines(text)
        if not (binding.key or "").lower().endswith(PREVIOUS)
    )  # fmt: skip


def _lines(text: str) -> list[Binding]:
    from dotenv.parser import parse_stream

    return [*parse_stream(StringIO(text))]


def _quote(value: str) -> str:
    return value if re.fullmatch(r"[A-Za-z0-9_-]+", value) else f"'{value}'"


def _bindings(text: str) -> tuple[dict[str, str], list[str]]:
    values: dict[str, str] = {}
    found: list[str] = []
    for binding in _lines(text):
        line = binding.original.line
        if binding.error or (binding.key is not None and not NAME.fullmatch(binding.key)):
            found.append(f"line {line}: not a `NAME=value` line")
        elif binding.key is None:
            continue
        elif binding.key.lower() in values:
            found.append(f"{binding.key}: stands twice (again in line {line})")
        else:
            values[binding.key.lower()] = binding.value or ""
            if not binding.value:
                found.append(f"{binding.key}: has no value (line {line})")
    return values, found


def _from_files(
    values: Mapping[str, str], read_file: Callable[[str], bytes | None]
) -> tuple[dict[str, str], list[str]]:
    plain = {name: value for name, value in values.items() if not name.endswith("_file")}
    found: list[str] = []
    for name, path in values.items():
        target = name.removesuffix("_file")
        if target == name or not path:
            continue
        content = read_file(path)
        if target in plain:
            found.append(f"{target.upper()}: given both as a value and as {name.upper()}")
        elif content is None or not content.strip():
            found.append(f"{name.upper()}: `{path}` is {'missing' if content is None else 'empty'}")
        else:
            plain[target] = content.decode(errors="replace").strip()
    return plain, found


def _expand(values: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    found: list[str] = []

    def resolve(name: str, seen: tuple[str, ...]) -> str:
        if name in seen:
            found.append(f"{seen[0].upper()}: refers to itself: {' -> '.join((*seen, name)).upper()}")
            return ""
        return REFERENCE.sub(lambda match: lookup(match[1].lower(), (*seen, name)), values[name])

    def lookup(name: str, seen: tuple[str, ...]) -> str:
        if name not in values:
            found.append(f"{seen[-1].upper()}: refers to {name.upper()}, which does not exist")
            return ""
        return resolve(name, seen)

    expanded = {name: resolve(name, ()) for name in values}
    return expanded, list(dict.fromkeys(found))
