"""A fresh server of each suite, one story each: the stages are fixtures, and a test asks for the last one it needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import engine  # noqa: F401 (a fixture)
from tests.lab.vps import Neighbour, Vps, kernel_kept, neighbour, network, vps
from tests.scenarios.admin import Admin

SUITES = ("bookworm", "trixie")
WITHOUT_CALLS_AND_MAIL = ("jitsi", "coturn", "stalwart")


@pytest.fixture(scope="session")
def street(engine: None) -> Iterator[None]:
    if not shutil.which("ssh"):
        pytest.skip("no ssh on this machine")
    with kernel_kept(), network():
        yield


@pytest.fixture(scope="session")
def stranger(street: None) -> Iterator[Neighbour]:
    """Another host, that means no good."""
    with neighbour("stranger") as host:
        yield host


@pytest.fixture(scope="session")
def visitor(street: None) -> Iterator[Neighbour]:
    """Another host, that means no harm."""
    with neighbour("visitor") as host:
        yield host


@pytest.fixture(scope="session", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server(street: None, suite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vps]:
    with vps(suite, tmp_path_factory.mktemp(f"laptop-{suite}")) as server:
        yield server


@pytest.fixture(scope="session")
def admin(server: Vps, suite: str) -> Admin:
    """With a site file: a small site on Debian 12, everything on Debian 13."""
    admin = Admin(server, server.home / "acme")
    made = admin.kmuctl(
        "init", "--directory", str(admin.folder), "--trial", "--yes", "--host", server.url(),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    if suite == "bookworm":
        admin.edit(small)
    return admin


def small(document: Any) -> None:
    document["apps"] = dict.fromkeys(WITHOUT_CALLS_AND_MAIL, False)
