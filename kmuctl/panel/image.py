"""The panel's image: its build context as bytes, the same on every machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

PANEL = Path(__file__).parent
RECIPE = ("Dockerfile", "requirements.txt")
NOT_INSIDE = (*RECIPE, "image.py")


def context() -> bytes:
    """A tar file as Docker takes it for a build."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, path in sorted(_files()):
            content = path.read_bytes()
            # TarInfo starts with time, user and group 0
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def digest() -> str:
    return hashlib.sha256(context()).hexdigest()[:16]


def _files() -> Iterator[tuple[str, Path]]:
    yield from ((name, PANEL / name) for name in RECIPE)
    yield "kmuctl/__init__.py", PANEL.parent / "__init__.py"
    for path in PANEL.rglob("*"):
        name = path.relative_to(PANEL).as_posix()
        if path.is_file() and path.suffix in {".py", ".html", ".css"} and name not in NOT_INSIDE:
            yield f"kmuctl/panel/{name}", path
