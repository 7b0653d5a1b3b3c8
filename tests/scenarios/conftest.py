"""A fresh server of each suite, one story each: the stages are fixtures, and a test asks for the last one it needs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.images import BUILT_BY_KMUCTL, PARENTS
from tests.lab.stack import docker
from tests.lab.vps import Neighbour, Vps, kernel_kept, neighbour, network, vps
from tests.scenarios.admin import Admin
from tests.scenarios.lynis import Verdict, audit

KEPT = os.environ.get("KMUCTL_LAB_VPS", "")
"""A folder: servers and their admins' homes stay for the next run."""
SUITES = ("bookworm", "trixie")
WITHOUT_CALLS_AND_MAIL = ("jitsi", "coturn", "stalwart")
OWN_IMAGE = "valkey/valkey:9.1.1"
OWN_SETTINGS = {"log-level": "warn", "log-opts": {"max-size": "5m"}}
PLUGINS = "/usr/local/lib/docker/cli-plugins"
ORDER = ("test_arrival", "test_lock_out", "test_harden", "test_site", "test_attackers", "test_changes")
"""A server's life: fresh, hardened, running the site, attacked, changed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem) + 1 if item.path.stem in ORDER else 0)


def compose_plugin() -> str:
    """Where this machine has it."""
    path = '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}'
    return docker("info", "--format", path).strip()


@pytest.fixture(scope="session", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def street(engine: None, suite: str) -> Iterator[str]:
    """The network that a server and its neighbours share."""
    if not shutil.which("ssh"):
        pytest.skip("no ssh on this machine")
    with kernel_kept(), network(suite, keep=bool(KEPT)) as name:
        yield name


@pytest.fixture(scope="session")
def stranger(street: str) -> Iterator[Neighbour]:
    """Another host, that means no good."""
    with neighbour(street, "stranger") as host:
        yield host


@pytest.fixture(scope="session")
def visitor(street: str) -> Iterator[Neighbour]:
    """Another host, that means no harm."""
    with neighbour(street, "visitor") as host:
        yield host


@pytest.fixture(scope="session")
def server(suite: str, street: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vps]:
    home = Path(KEPT, suite) if KEPT else tmp_path_factory.mktemp(f"laptop-{suite}")
    with vps(suite, street, home, keep=bool(KEPT)) as server:
        yield server


@pytest.fixture(scope="session")
def fresh(suite: str, street: str, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """What lynis says of a server that nobody touched. First of all: a hardened one changes the kernel of both."""
    with vps(suite, street, tmp_path_factory.mktemp(f"fresh-{suite}"), name="fresh") as server:
        return audit(server)


@pytest.fixture(scope="session")
def admin(fresh: Verdict, server: Vps, suite: str) -> Admin:
    """With a site file: a small site on Debian 12, everything on Debian 13."""
    admin = Admin(server, server.home / "acme")
    if not admin.file.exists():
        where = ("--directory", str(admin.folder), "--host", server.url())
        made = admin.kmuctl("init", "--trial", "--yes", *where)
        assert made.returncode == 0, made.stderr
        if suite == "bookworm":
            admin.edit(small)
    return admin


def small(document: Any) -> None:
    document["apps"] = dict.fromkeys(WITHOUT_CALLS_AND_MAIL, False)


@pytest.fixture(scope="session")
def own_engine(admin: Admin, suite: str) -> dict[str, Any]:
    """On Debian 12 the admin has an engine already, with settings and a container; its inspection."""
    if suite != "bookworm":
        return {}
    server = admin.server
    if server.inside("docker", "inspect", "own").returncode == 0:
        return server.container("own")
    server.install("docker.io")
    server.say("mkdir", "-p", PLUGINS)
    docker("cp", compose_plugin(), f"{server.name}:{PLUGINS}/docker-compose")
    server.inside("sh", "-c", "cat >/etc/docker/daemon.json", stdin=json.dumps(OWN_SETTINGS))
    server.say("systemctl", "restart", "docker")
    server.load(OWN_IMAGE)
    server.say("docker", "run", "--detach", "--name", "own", "--restart", "always", OWN_IMAGE)
    return server.container("own")


@pytest.fixture(scope="session")
def hardened(admin: Admin, suite: str, own_engine: dict[str, Any]) -> Admin:
    """As root on Debian 12; on Debian 13 as a user whose sudo asks for a password, with the distribution's Docker."""
    admin.server.trust()
    if suite == "bookworm":
        done = admin.kmuctl("harden")
    else:
        admin.server.open_for("deploy")
        way = ("--host", admin.server.url("deploy"), "harden", "--docker-source", "distro")
        done = admin.typing("deploy-password", "Password of deploy", *way)
    assert done.returncode == 0, done.stdout + done.stderr
    return admin


@pytest.fixture(scope="session")
def running(hardened: Admin) -> Admin:
    """Everything of the site is up: a small one on Debian 12, all of it on Debian 13."""
    hardened.server.load(*local_images(hardened))
    done = hardened.kmuctl("up")
    assert done.returncode == 0, done.stdout + done.stderr
    return hardened


def local_images(admin: Admin) -> list[str]:
    """What no registry could bring: all but what kmuctl builds itself, and what it builds that from."""
    wanted = {container.image for service in admin.stack.services for container in service.containers}
    return sorted(image for image in wanted if not image.startswith(BUILT_BY_KMUCTL)) + list(PARENTS)
