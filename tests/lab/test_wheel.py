"""What is installed from a wheel does the same as the repository."""

from __future__ import annotations

import site as python_site
import sys
from pathlib import Path

import pytest

from kmuctl import __version__
from tests.lab.stack import run

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
SITE = ("--trial", "--yes", "--ipv4", "203.0.113.7")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`kmuctl` in a fresh environment: the wheel, and what it depends on from the present one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    assert build.returncode == 0, build.stderr
    wheel = next(folder.glob("kmuctl-*.whl"))
    run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
    target = next((folder / "venv/lib").glob("python3*/site-packages"))
    unpacked = run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    )
    assert unpacked.returncode == 0, unpacked.stderr
    # Appended to sys.path after the wheel's own folder, and without the editable install of the project
    (target / "present.pth").write_text("\n".join(python_site.getsitepackages()) + "\n")
    return folder / "venv/bin/python"


def test_the_wheel_renders_what_the_repository_renders(installed: Path, tmp_path: Path) -> None:
    """K17: all templates travel along; an empty folder is all it needs."""
    for python, name in ((str(installed), "wheel"), (sys.executable, "repository")):
        folder = tmp_path / name
        folder.mkdir()
        environment = {"PYTHONPATH": str(ROOT)} if name == "repository" else {"PYTHONSAFEPATH": "1"}
        for command in (("init", *SITE), ("render",)):
            done = run(python, "-m", "kmuctl", *command, folder=folder, environment=environment)
            assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "wheel") == tree(tmp_path / "repository")
    assert len(tree(tmp_path / "wheel")) > 40


def test_the_wheel_brings_the_panels_sources(installed: Path, tmp_path: Path) -> None:
    """The image that `up` builds has the same digest, so an update by pipx rebuilds only what changed."""
    from kmuctl.panel import image

    program = "from kmuctl.panel import image; import kmuctl; print(kmuctl.__file__); print(image.digest())"
    place, digest = run(str(installed), "-c", program, folder=tmp_path).stdout.split()
    assert str(installed.parent.parent) in place
    assert digest == image.digest()


def test_the_wheel_installs_the_command(installed: Path) -> None:
    """K98: with the version of this project."""
    program = (
        "import importlib.metadata as m; d = m.distribution('kmuctl'); print(d.version, d.entry_points['kmuctl'].value)"
    )
    assert run(str(installed), "-c", program).stdout.split() == [__version__, "kmuctl.cli:main"]
