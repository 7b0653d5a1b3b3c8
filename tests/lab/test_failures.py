"""Bad input and bad luck on a running stack: a clear message, the documented exit code, and nothing else touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.stack import LabSite, Run, docker, eventually, health, ids, name_of, run

pytestmark = pytest.mark.lab

CRASHING = "kmuctl-lab/crashing:1"
RECIPE = """\
FROM kmuctl-lab/debian
RUN printf '#!/bin/sh\\necho the cupboard is bare >&2\\nexit 3\\n' >/usr/bin/caddy && chmod +x /usr/bin/caddy
"""
TOOLS = ("id", "ss", "ip", "df", "mkdir", "test")


def everything(site: LabSite) -> dict[str, Any]:
    """All that must stay as it is: containers, rendered files, secrets."""
    files = [*site.rendered.rglob("*"), *site.folder.glob("*")]
    stamps = {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}
    return {**stamps, **ids()}


def refused(site: LabSite, before: dict[str, Any], **environment: str) -> Run:
    """An `up` that must say no in one message and touch nothing."""
    done = site.kmuctl("up", environment=environment)
    assert everything(site) == before
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr
    return done


@pytest.fixture(scope="module")
def half_failed(site: LabSite) -> Iterator[tuple[Run, dict[str, str]]]:
    """One image crashes, one does not exist, one container stands still: what one `up` makes of it."""
    docker("build", "--quiet", "--tag", CRASHING, "-", stdin=RECIPE)
    before = ids()
    docker("stop", name_of("dozzle"))
    with site.edited("images", homepage=CRASHING, element="ghcr.io/element-hq/element-web:v0.0.0-none"):
        done = site.kmuctl("up")
        after = ids()
    assert site.kmuctl("up").returncode == 0
    docker("image", "rm", "--force", CRASHING)
    yield done, {name: "same" if after.get(name) == seen else "other" for name, seen in before.items()}


def test_an_image_that_cannot_be_had_fails_its_own_step(half_failed: tuple[Run, dict[str, str]]) -> None:
    """D34: it is named, the container that runs is left alone, exit 1."""
    done, containers = half_failed
    assert done.returncode == 1
    assert "cannot pull `ghcr.io/element-hq/element-web:v0.0.0-none`" in done.stderr
    assert containers["element"] == "same"


def test_a_container_that_keeps_stopping_is_shown_with_its_last_words(half_failed: tuple[Run, dict[str, str]]) -> None:
    """K44: exit code and log lines, without asking for them."""
    done, _ = half_failed
    assert "homepage keeps stopping (exit code 3" in done.stderr
    assert "the cupboard is bare" in done.stderr


def test_what_does_not_depend_on_a_failure_goes_on(half_failed: tuple[Run, dict[str, str]]) -> None:
    """D35: the container that stood still is started by the same command, the others never stop."""
    _, containers = half_failed
    assert health("dozzle") == "healthy"
    assert {name for name, kind in containers.items() if kind == "other"} == {"dozzle", "homepage"}


def test_a_second_kmuctl_waits_its_turn_and_ctrl_c_loses_nothing(site: LabSite) -> None:
    """K43: exit 4 with the other's process; interrupted the first ends with 130, and the next `up` finishes the job."""
    docker("rm", "--force", name_of("element"), name_of("homepage"))
    with site.started("up") as first:
        eventually(lambda: health("homepage") == "starting", within=30, every=0.1, what="the first is at work")
        first.send_signal(signal.SIGSTOP)  # however slow this machine is, it is in the middle
        second = site.kmuctl("up")
        assert second.returncode == 4
        assert f"`kmuctl up`, process {first.pid}" in second.stderr
        assert site.kmuctl("down").returncode == 4
        first.send_signal(signal.SIGINT)
        first.send_signal(signal.SIGCONT)
        said, _ = first.communicate(timeout=60)
    assert (first.returncode, "Traceback" in said) == (130, False), said
    site.up()
    assert {health("element"), health("homepage")} == {"healthy"}


def test_data_without_its_secrets_is_not_given_new_ones(site: LabSite) -> None:
    """K31, U54: a new password would lock the database for good: exit 2."""
    path = site.folder / "secrets.env"
    aside = path.rename(site.folder / "aside.env")
    try:
        done = refused(site, everything(site))
        assert not path.exists()
    finally:
        aside.rename(path)
    assert done.returncode == 2
    assert str(path) in done.stderr and "backup" in done.stderr


@pytest.mark.parametrize(
    ("damage", "named"),
    [("NEW=\n", "NEW: has no value"), ("POSTGRES_PASSWORD=x\n", "POSTGRES_PASSWORD: stands twice"), ("what\n", "line")],
    ids=["empty", "twice", "no value"],
)
def test_a_damaged_secrets_file_is_named(site: LabSite, damage: str, named: str) -> None:
    """U58: every problem with its name; exit 2."""
    path = site.folder / "secrets.env"
    before = path.read_text()
    try:
        path.write_text(before + damage)
        done = refused(site, everything(site))
        assert path.read_text() == before + damage
    finally:
        path.write_text(before)
    assert (done.returncode, named in done.stderr) == (2, True), done.stderr


def test_a_network_that_collides_with_a_route_is_named(site: LabSite) -> None:
    """K20, D30: a VPN or the office uses the same addresses: exit 1."""
    route = "10.231.125.0/24"
    run("ip", "route", "add", route, "dev", "lo")
    try:
        done = refused(site, everything(site))
    finally:
        run("ip", "route", "del", route, "dev", "lo")
    assert done.returncode == 1
    assert route in done.stderr and "subnet" in done.stderr


def test_an_engine_that_does_not_answer(site: LabSite) -> None:
    """D30, D45: exit 1."""
    done = refused(site, everything(site), DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def tools(folder: Path, docker_program: str = "") -> str:
    """A PATH with what kmuctl asks of the system, and this program as `docker`."""
    for name in TOOLS:
        (folder / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    if docker_program:
        (folder / "docker").write_text(docker_program)
        (folder / "docker").chmod(0o755)
    return str(folder)


def test_a_machine_without_docker(site: LabSite, tmp_path: Path) -> None:
    """D30: exit 1, and where to get it."""
    done = refused(site, everything(site), PATH=tools(tmp_path))
    assert (done.returncode, "Docker is not installed" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("version", "named"), [("exit 1", "no Compose plugin"), ("echo 2.10.2", "2.10.2 is too old")], ids=["none", "old"]
)
def test_a_machine_without_a_usable_compose(site: LabSite, tmp_path: Path, version: str, named: str) -> None:
    """D30, D45: missing or too old: exit 1."""
    fake = f'#!/bin/sh\n[ "$1" = compose ] || exit 0\n{version}\n'
    done = refused(site, everything(site), PATH=tools(tmp_path, fake))
    assert (done.returncode, named in done.stderr) == (1, True), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_without_rights(site: LabSite) -> None:
    """D30: nobody is told what to do about it: exit 1."""
    before = everything(site)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
    if run(*nobody, sys.executable, "-c", "import kmuctl").returncode:
        pytest.skip("this checkout is in a folder that others may not enter")
    done = run(*nobody, *site.command("up"))
    assert everything(site) == before
    assert (done.returncode, "sudo" in done.stderr) == (1, True), done.stderr


def test_another_site_cannot_take_over_or_stop_this_one(site: LabSite, tmp_path: Path) -> None:
    """K1: one site a machine; the second is told where the first is, by `up` and by `down --purge`."""
    other = LabSite(tmp_path)
    other.kmuctl("init", "--trial", "--yes", "--directory", str(tmp_path), "--folder", str(tmp_path))
    before = everything(site)
    for command in (("up",), ("down",), ("down", "--purge", "--yes")):
        done = other.kmuctl(*command)
        assert (done.returncode, str(site.folder) in done.stderr) == (1, True), command
    assert everything(site) == before
