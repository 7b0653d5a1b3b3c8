"""Docker: from the right repository under the right key, beside what is there, with settings that keep it all alive."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kmuctl.model.host import Answer
from kmuctl.model.step import State
from kmuctl.operations.harden import openpgp
from kmuctl.operations.harden.daemon import OURS, PATH, POOL_KEY
from kmuctl.operations.harden.engine import FROM_DOCKER, KEY, SOURCE
from tests.fakes.server import Server
from tests.operations.harden.scenes import causes, go, only, plan

ARMOURED = Path(__file__).parents[2].joinpath("data/openpgp-key.asc").read_bytes()
DOCKER, DISTRO = only("docker"), only("docker", docker_source="distro")


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's key counts as Docker's."""
    monkeypatch.setattr("kmuctl.operations.harden.engine.FINGERPRINT", openpgp.fingerprints(ARMOURED)[0])


@pytest.fixture
def host() -> Server:
    host = Server()
    host.apt.key = ARMOURED
    return host


@pytest.mark.usefixtures("trusted")
def test_from_dockers_own_repository(host: Server) -> None:
    """K25."""
    outcomes = go(host, DOCKER)
    assert not causes(outcomes, State.FAILED)
    text = host.text(SOURCE)
    assert "URIs: https://download.docker.com/linux/debian\nSuites: trixie\n" in text
    assert f"Architectures: amd64\nSigned-By: {KEY}\n" in text
    assert {*FROM_DOCKER} <= host.apt.installed
    assert causes(go(host, DOCKER)) == {}


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("version", "codename"), [("22.04", "jammy"), ("24.04", "noble"), ("26.04", "resolute")])
def test_the_repository_of_the_right_distribution(version: str, codename: str) -> None:
    host = Server(distribution="ubuntu", version=version, codename=codename)
    host.apt.key = ARMOURED
    go(host, DOCKER)
    assert f"URIs: https://download.docker.com/linux/ubuntu\nSuites: {codename}\n" in host.text(SOURCE)


def test_an_unknown_release_is_refused() -> None:
    host = Server(version="14", codename="forky")
    failed = go(host, DOCKER)["docker:source"]
    assert failed.cause.startswith("Docker's packages for Debian 14 (amd64) are not known to kmuctl")
    assert host.read(SOURCE) is None


def test_a_key_of_somebody_else_is_not_trusted(host: Server) -> None:
    outcomes = go(host, DOCKER)
    assert outcomes["docker:source"].cause.endswith("its fingerprint is not 9DC858229FC7DD38854AE2D88D81803C0EBFCD88")
    assert outcomes["docker:engine"].state is State.BLOCKED
    assert (host.read(KEY), host.read(SOURCE)) == (None, None)


def test_without_network_the_key_is_named(host: Server) -> None:
    host.apt.installed.add("ca-certificates")
    host.apt.offline = "Could not resolve 'download.docker.com'"
    failed = go(host, DOCKER)["docker:source"]
    assert failed.cause.startswith("Docker's key cannot be fetched from https://download.docker.com/linux/debian/gpg")
    assert "--docker-source distro" in failed.hint


def test_from_the_distribution() -> None:
    host = Server()
    assert not causes(go(host, DISTRO), State.FAILED)
    assert {"docker.io", "docker-compose"} <= host.apt.installed
    assert host.read(SOURCE) is None
    assert causes(go(host, DISTRO)) == {}


@pytest.mark.parametrize(
    ("distribution", "version", "codename"), [("debian", "12", "bookworm"), ("ubuntu", "22.04", "jammy")]
)
def test_a_distribution_without_a_new_compose(distribution: str, version: str, codename: str) -> None:
    host = Server(distribution=distribution, version=version, codename=codename)
    failed = go(host, DISTRO)["docker:engine"]
    assert failed.cause.endswith("have no Docker Compose 2.20 or newer")
    assert 'docker_source = "docker"' in failed.hint


@pytest.mark.parametrize(
    "packages",
    [{"docker.io", "docker-compose", "docker-buildx"}, {"docker-ce", "docker-compose-plugin", "docker-buildx-plugin"}],
)
def test_an_engine_that_is_there_is_kept(packages: set[str]) -> None:
    for wanted in (DOCKER, DISTRO):
        host = Server()
        host.apt.installed |= packages
        host.systemd.start("docker.service")
        outcomes = go(host, wanted)
        assert causes(outcomes).keys() == {"docker:settings"}
        assert host.apt.installed >= packages
        assert host.read(SOURCE) is None


@pytest.mark.parametrize(
    ("engine", "compose", "buildx"),
    [("docker.io", "docker-compose", "docker-buildx"), ("docker-ce", "docker-compose-plugin", "docker-buildx-plugin")],
)
def test_a_missing_buildx_comes_from_the_engines_own_side(engine: str, compose: str, buildx: str) -> None:
    host = Server()
    host.apt.installed |= {engine, compose}
    assert go(host, DOCKER)["docker:buildx"].cause == f"to install: {buildx}"
    assert host.apt.installed >= {engine, compose, buildx}
    assert plan(host, DOCKER)["docker:buildx"].state is State.OK


def test_an_engine_whose_side_has_no_buildx_is_told() -> None:
    host = Server(version="12", codename="bookworm")
    host.apt.installed |= {"docker.io", "docker-compose"}
    outcome = go(host, DOCKER)["docker:buildx"]
    assert (outcome.state, outcome.warning[:26]) == (State.OK, "this engine has no buildx,")


def test_a_missing_compose_comes_from_the_engines_own_side() -> None:
    """The engine of the other side would take its place."""
    host = Server()
    host.apt.installed.add("docker.io")
    go(host, DOCKER)
    assert "docker-compose" in host.apt.installed
    assert "docker-ce" not in host.apt.installed


def settings(host: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.text(PATH))
    return found


def installed(text: str = "") -> Server:
    host = Server()
    host.apt.installed |= {"docker.io", "docker-compose", "docker-buildx"}
    if text:
        host.write(PATH, text.encode())
    host.systemd.start("docker.service")
    return host


def test_the_engines_settings() -> None:
    host = installed()
    go(host, DISTRO)
    assert settings(host) == OURS | {
        POOL_KEY: [{"base": "10.230.0.0/16", "size": 24}, {"base": "10.229.0.0/16", "size": 24}]
    }
    assert host.systemd.since["docker.service"] > host.facts([PATH])[PATH].written


def test_the_admins_own_settings_stay() -> None:
    mine = {"dns": ["192.0.2.53"], "log-driver": "journald", POOL_KEY: [{"base": "172.20.0.0/16", "size": 26}]}
    host = installed(json.dumps(mine))
    go(host, DISTRO)
    assert settings(host) == mine | {"live-restore": True, "userland-proxy": False}
    assert causes(go(host, DISTRO)) == {}


def test_what_the_admin_set_otherwise_is_told() -> None:
    """Swarm, for instance, cannot have it."""
    host = installed('{"live-restore": false}')
    outcome = go(host, DISTRO)["docker:settings"]
    assert settings(host)["live-restore"] is False
    assert outcome.warning.endswith("is left so: `live-restore` is false")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"dns": [}', "`/etc/docker/daemon.json` is not valid JSON: Expecting value: line 1 column 10"),
        ("[]", "`/etc/docker/daemon.json` is not a JSON object"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_with_the_place(text: str, cause: str) -> None:
    host = installed(text)
    outcome = go(host, DISTRO)["docker:settings"]
    assert (outcome.state, cause in outcome.cause) == (State.FAILED, True)
    assert host.text(PATH) == text


def test_settings_that_the_engine_does_not_take_are_taken_back() -> None:
    host = installed('{"debug": true}')
    host.daemon_ends = "Job for docker.service failed"
    outcome = go(host, DISTRO)["docker:settings"]
    assert outcome.cause.startswith("the engine does not start with the new settings, and ")
    assert host.text(PATH) == '{"debug": true}'


def test_a_file_that_the_engine_has_not_read_is_read() -> None:
    host = installed()
    go(host, DISTRO)
    text = host.text(PATH)
    host.write(PATH, b"{}")
    host.write(PATH, text.encode())
    assert causes(go(host, DISTRO)) == {"docker:settings": "the engine has not read its settings yet"}


def test_a_clock_that_was_set_back_does_not_restart_the_engine() -> None:
    host = installed()
    go(host, DISTRO)
    host.nodes[PATH] = replace(host.nodes[PATH], written=host.clock + 3600)
    assert causes(go(host, DISTRO)) == {}


def test_a_stopped_engine_runs_again() -> None:
    """PITFALLS 30."""
    host = installed()
    go(host, DISTRO)
    host.systemd.active.discard("docker.service")
    assert causes(go(host, DISTRO)) == {"docker:settings": "the engine is inactive"}
    assert "docker.service" in host.systemd.active


@pytest.mark.parametrize(
    ("route", "pools"),
    [
        ("10.0.0.0/8", ["172.30.0.0/16", "172.29.0.0/16"]),
        ("10.230.4.0/24", ["10.229.0.0/16", "172.30.0.0/16"]),
        ("172.16.0.0/12", ["10.230.0.0/16", "10.229.0.0/16"]),
        ("0.0.0.0/1", ["10.230.0.0/16", "10.229.0.0/16"]),
    ],
)
def test_pools_avoid_what_the_machine_reaches(route: str, pools: list[str]) -> None:
    """PITFALLS 22."""
    host = installed()
    host.programs["ip"] = lambda words: Answer(0, json.dumps([{"dst": "default"}, {"dst": route, "dev": "wg0"}]))
    go(host, DISTRO)
    assert [pool["base"] for pool in settings(host)[POOL_KEY]] == pools


def test_pools_avoid_the_sites_own_range() -> None:
    host = installed()
    go(host, DISTRO, network={"subnet": "10.230.16.0/20"})
    assert "10.230.0.0/16" not in [pool["base"] for pool in settings(host)[POOL_KEY]]


def test_members_of_the_group_are_told_what_they_are() -> None:
    """K27."""
    host = installed()
    wanted = only("docker", docker_users=["debian", "admin"])
    cause = plan(host, wanted)["docker:users"].cause
    assert cause == (
        "to add to the group docker: debian, admin; whoever is in it is root on this machine, from the next sign-in on"
    )
    go(host, wanted)
    assert host.members == ["debian", "admin"]
    assert causes(go(host, wanted)) == {}


def test_a_member_that_does_not_exist_is_named() -> None:
    outcome = go(installed(), only("docker", docker_users=["ghost"]))["docker:users"]
    assert outcome.cause == "`ghost` cannot be added to the group docker: gpasswd: user 'ghost' does not exist"
