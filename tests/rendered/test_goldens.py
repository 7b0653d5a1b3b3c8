"""The whole rendered tree of two sites, as files that a reviewer reads in the diff.

`KMU_UPDATE_GOLDEN=1 pytest tests/rendered/test_goldens.py` rewrites them.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmuctl.model.secrets import Placeholders
from kmuctl.operations.render import File, render
from tests.rendered.sites import SMALL
from tests.support import stack

GOLDEN = Path(__file__).parents[1] / "golden" / "rendered"
TREES: dict[str, dict[str, Any]] = {"core": {}, "small": SMALL}
LISTING = "LISTING"


def listing(files: dict[str, File]) -> str:
    """Mode, owner and path of every file, secrets included: what the contents do not show."""
    return "".join(f"{file.mode:04o} {file.uid:>5} {path}\n" for path, file in files.items())


def rendered_tree(site: str) -> dict[str, str]:
    files = render(stack(**TREES[site]), Placeholders()).files
    shown = {path: file.content.decode() for path, file in files.items() if not path.startswith("secrets/")}
    return {LISTING: listing(files)} | shown


def stored_tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_tree(folder: Path, tree: dict[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def differences(stored: dict[str, str], fresh: dict[str, str]) -> Iterator[str]:
    for path in sorted(stored.keys() | fresh.keys()):
        before, after = (tree.get(path, "").splitlines(keepends=True) for tree in (stored, fresh))
        yield from difflib.unified_diff(before, after, f"golden/{path}", f"rendered/{path}")


@pytest.mark.parametrize("site", TREES)
def test_the_rendered_tree_is_the_golden_one(site: str) -> None:
    fresh = rendered_tree(site)
    if os.environ.get("KMU_UPDATE_GOLDEN"):
        write_tree(GOLDEN / site, fresh)
    if diff := "".join(differences(stored_tree(GOLDEN / site), fresh)):
        pytest.fail(f"{diff}\nif this is wanted: KMU_UPDATE_GOLDEN=1 pytest {Path(__file__).name}", pytrace=False)


def test_a_difference_shows_as_a_diff() -> None:
    shown = "".join(differences({"a": "one\n", "gone": "x\n"}, {"a": "two\n", "new": "y\n"}))
    assert "--- golden/a\n+++ rendered/a\n" in shown
    assert "-one\n+two\n" in shown
    assert "-x\n" in shown
    assert "+y\n" in shown
