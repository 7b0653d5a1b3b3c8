"""This very kmuctl as a wheel: what runs here is what the server's timers call."""

from __future__ import annotations

import io
import re
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from kmuctl import __version__, assets
from kmuctl.model.errors import HostError

PACKAGE = Path(__file__).parents[1]
INFO = f"kmuctl-{__version__}.dist-info"
NAME = f"kmuctl-{__version__}-py3-none-any.whl"
LEFT_OUT = ("__pycache__", "assets")
KIND = "Wheel-Version: 1.0\nGenerator: kmuctl\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@cache
def wheel() -> bytes:
    """The same bytes for the same files: no times, one order."""
    files = dict(sorted({**dict(_code()), **dict(_assets()), **_metadata()}.items()))
    record = f"{INFO}/RECORD"
    rows = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(_entry(name), content)
        return buffer.getvalue()


def constraints() -> bytes:
    """For pip: every package that runs here, in the version that runs here."""
    found: dict[str, str] = {}
    names = [*_required("kmuctl")]
    while names:
        if (name := names.pop()) not in found:
            with suppress(PackageNotFoundError):
                found[name] = version(name)
                names += _required(name)
    return "".join(f"{name}=={number}\n" for name, number in sorted(found.items())).encode()


def _required(name: str) -> Iterator[str]:
    """By name, under whatever condition: the one that does not hold here is not installed here."""
    for requirement in distribution(name).requires or ():
        yield re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
    return entry


def _code() -> Iterator[tuple[str, bytes]]:
    for path in PACKAGE.rglob("*"):
        name = path.relative_to(PACKAGE)
        if path.is_file() and not set(name.parts) & set(LEFT_OUT):
            yield f"kmuctl/{name.as_posix()}", path.read_bytes()


def _assets() -> Iterator[tuple[str, bytes]]:
    yield from ((f"kmuctl/assets/{name}", text.encode()) for name, text in assets.sources().items())


def _metadata() -> dict[str, bytes]:
    """What this one was installed with, without the long description."""
    try:
        own = distribution("kmuctl")
    except PackageNotFoundError:
        raise HostError(
            "kmuctl was not installed here, so it cannot be handed on to the server", hint="`pipx install` it"
        ) from None
    head = (own.read_text("METADATA") or "").partition("\n\n")[0]
    entries = own.read_text("entry_points.txt") or ""
    texts = {"METADATA": head + "\n", "entry_points.txt": entries, "WHEEL": KIND}
    return {f"{INFO}/{name}": text.encode() for name, text in texts.items()}


def _digest(content: bytes) -> str:
    return urlsafe_b64encode(sha256(content).digest()).decode().rstrip("=")
