"""`kmuctl render` in its four forms. Each says whether there was a difference."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from kmuctl.console import Console
from kmuctl.model.errors import ConfigError
from kmuctl.model.site import load_site
from kmuctl.operations.compare import Tree, difference, markdown, read_tree, text_at, tree_of, write_tree
from kmuctl.services import NAMES


def _tree(path: Path) -> dict[str, str]:
    load_site(path, NAMES)  # names a missing or unreadable file properly
    return tree_of(path.read_text(encoding="utf-8"), path=str(path))


def write(console: Console, path: Path, folder: Path) -> bool:
    tree = _tree(path)
    changed = write_tree(folder, tree)
    text = f"{len(tree)} files in `{folder}`, {changed} changed; secrets are placeholders"
    console.result(text, {"folder": str(folder), "files": sorted(tree), "changed": changed})
    return changed > 0


def compare(console: Console, path: Path, folder: Path, form: str) -> bool:
    return _show(console, read_tree(folder), _tree(path), form, f"kmuctl render --output {quote(str(folder))} --diff")


def against(console: Console, path: Path, revision: str, form: str) -> bool:
    new = _tree(path)
    return _show(console, _tree_at(console, path, revision), new, form, f"kmuctl render --against {quote(revision)}")


def _tree_at(console: Console, path: Path, revision: str) -> Tree:
    """A revision whose site file was not valid is no reason to refuse the one that mends it."""
    text = text_at(path, revision)
    try:
        return {} if text is None else tree_of(text, path=f"{revision}:{path.name}")
    except ConfigError as error:
        console.warn(f"every file counts as new: {error.message}")
        return {}


def _show(console: Console, old: Tree, new: Tree, form: str, command: str) -> bool:
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    text = markdown(old, new, command) if form == "markdown" else difference(old, new)
    console.result(text.rstrip("\n") or "no difference", {"changed": changed, "diff": difference(old, new)})
    return bool(changed)
