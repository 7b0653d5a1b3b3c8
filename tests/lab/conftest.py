"""The full core site, brought up once for all lab tests and taken down after them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.lab.stack import PUBLIC, LabSite, containers, report

ORDER = (
    "test_wheel", "test_up", "test_engine", "test_doors", "test_database", "test_turn", "test_secrets", "test_wiring",
    "test_mail", "test_certs", "test_nextcloud", "test_chat", "test_meetings", "test_drift", "test_operate",
    "test_changes", "test_rotation", "test_health", "test_failures", "test_down",
)  # fmt: skip
"""What only looks comes first, what breaks things last, so that one stack serves all."""
SPARE_FOLDER, PREFIX = Path("/var/tmp"), "kmuctl-lab-"  # a disk everywhere; /tmp may be memory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    return (
        ORDER.index(item.path.stem) + 1 if item.path.parent == Path(__file__).parent and item.path.stem in ORDER else 0
    )


@pytest.fixture(scope="session")
def site(engine: None) -> Iterator[LabSite]:
    """A trial site, made and brought up as the README says. `KMUCTL_LAB_SITE=FOLDER` keeps it for the next run."""
    _clear_leftovers()
    kept = os.environ.get("KMUCTL_LAB_SITE")
    folder = Path(kept or tempfile.mkdtemp(prefix=PREFIX, dir=SPARE_FOLDER))
    folder.chmod(0o755)  # as /opt/kmu is
    site = LabSite(folder)
    try:
        _make(site)
        yield site
    finally:
        if not kept:
            _unmake(site)


@pytest.fixture
def person(site: LabSite) -> Iterator[httpx.Client]:
    """The first admin, signed in to Authentik."""
    with site.browser() as browser:
        browser.get(report(site.kmuctl("--json", "login-link"))["link"], follow_redirects=True)
        yield browser


def _make(site: LabSite) -> None:
    if not site.file.exists():
        folder = str(site.folder)
        made = site.kmuctl("init", "--trial", "--yes", "--directory", folder, "--folder", folder, "--ipv4", PUBLIC)
        assert made.returncode == 0, made.stderr
    up = site.kmuctl("up")
    print(up.stderr, up.stdout, sep="\n")
    if up.returncode:
        pytest.fail(f"the stack does not come up:\n{up.stderr}\n{up.stdout}", pytrace=False)


def _unmake(site: LabSite) -> None:
    done = site.kmuctl("down", "--purge", "--yes")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(site.folder)


def _clear_leftovers() -> None:
    """A run that was killed leaves its stack behind."""
    for item in containers(everything=True).values():
        folder = Path(item["Config"]["Labels"]["com.docker.compose.project.working_dir"]).parent
        if folder.name.startswith(PREFIX):
            _unmake(LabSite(folder))
            return
