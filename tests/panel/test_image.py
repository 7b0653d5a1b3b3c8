"""The build context: the same bytes every time, complete, and small in what it imports."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import kmuctl
from kmuctl.panel import image

PACKAGE = Path(kmuctl.__file__).parent
MODULES = sorted((PACKAGE / "panel").rglob("*.py"))
LIBRARIES = {"fastapi", "httpx", "jinja2", "uvicorn"}


def members() -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(image.context())) as archive:
        return archive.getmembers()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def allowed(name: str) -> bool:
    first = name.partition(".")[0]
    own = name.startswith("kmuctl.panel.") or name == "kmuctl.__version__"
    return own or first in LIBRARIES or first in sys.stdlib_module_names


def test_the_same_bytes_every_time() -> None:
    assert image.context() == image.context()
    assert re.fullmatch(r"[0-9a-f]{16}", image.digest())


def test_nothing_of_this_machine_is_inside() -> None:
    found = members()
    assert [entry.name for entry in found] == sorted(entry.name for entry in found)
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode) for entry in found} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_every_file_of_the_panel_is_inside() -> None:
    wanted = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in (PACKAGE / "panel").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name not in image.NOT_INSIDE
    }
    assert {entry.name for entry in members()} == wanted | {"Dockerfile", "requirements.txt", "kmuctl/__init__.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_imports_only_what_the_image_has(path: Path) -> None:
    assert [name for name in imports(path) if not allowed(name)] == []


@pytest.mark.parametrize("name", ["health", "image", "__init__"])
def test_stays_light(name: str) -> None:
    """The CLI imports `image`, the engine runs `health` every ten seconds."""
    assert not {found.partition(".")[0] for found in imports(PACKAGE / "panel" / f"{name}.py")} & LIBRARIES


@pytest.mark.parametrize("module", ["app", "__main__", "sync", "health"])
def test_runs_from_the_context_alone(tmp_path: Path, module: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(image.context())) as archive:
        archive.extractall(tmp_path, filter="data")
    script = f"import kmuctl.panel.{module} as module; print(module.__file__)"
    command = [sys.executable, "-c", script]
    found = subprocess.check_output(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, text=True)
    assert found.startswith(str(tmp_path))


def test_requirements_are_pinned() -> None:
    lines = (PACKAGE / "panel" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*==[0-9.]+", pin) for pin in pins)
    assert {pin.partition("==")[0] for pin in pins} >= LIBRARIES


def test_needs_come_before_code_in_the_image() -> None:
    lines = (PACKAGE / "panel" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "FROM python:3.13-slim-trixie"
    words = [line.split(maxsplit=1)[0] for line in lines]
    assert words.index("RUN") < len(words) - 1 - words[::-1].index("COPY")
    assert "USER 10001:10001" in lines
