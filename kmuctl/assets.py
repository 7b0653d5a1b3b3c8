"""The template folders, in the wheel (`kmuctl/assets/`) or in the repository of an editable install."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDERS = ("compose", "caddy", "blueprints", "jitsi", "coturn", "stalwart", "templates")


def root() -> Path:
    package = Path(__file__).parent
    return package / "assets" if (package / "assets").is_dir() else package.parent


@cache
def sources() -> dict[str, str]:
    """Text of every template and snippet by its path below the root, sorted."""
    found = sorted(path for folder in FOLDERS for path in (root() / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root())): path.read_text(encoding="utf-8") for path in found}
