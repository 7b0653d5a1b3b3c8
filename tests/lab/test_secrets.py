"""Where the secrets of a running site are, and where they must not be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.lab.stack import LabSite, containers, docker, run

pytestmark = pytest.mark.lab

LOOK_SECONDS = 15
"""Longer than the interval of nearly every health check."""


def holding(text: str, secrets: dict[str, str]) -> set[str]:
    return {name for name, value in secrets.items() if value in text}


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_no_secret_is_an_argument_of_a_process(site: LabSite) -> None:
    """K31: every user of the machine can read those; looked at while health checks and `up` run."""
    secrets, found = site.secrets(), set[str]()
    end = monotonic() + LOOK_SECONDS
    with site.started("up") as up:
        while up.poll() is None or monotonic() < end:
            found |= {f"{name}: {line[:60]}" for line in command_lines() for name in holding(line, secrets)}
            sleep(0.02)
    assert found == set()


def test_no_secret_is_in_a_command_or_a_label(site: LabSite) -> None:
    """K31: `docker inspect` shows them to everybody in the docker group, and so do the arguments of health checks."""
    for name, item in containers().items():
        config = item["Config"]
        shown = json.dumps([config["Cmd"], config["Entrypoint"], config["Labels"], config["Healthcheck"]])
        assert holding(shown, site.secrets()) == set(), name


def test_no_secret_is_in_the_logs(site: LabSite) -> None:
    """K31: Dozzle shows them."""
    for name, item in containers().items():
        done = run("docker", "logs", item["Id"])
        assert holding(done.stdout + done.stderr, site.secrets()) == set(), name


def test_only_its_own_secrets_are_in_a_containers_environment(site: LabSite) -> None:
    """K31, U28: and there only where the product reads no file."""
    for service in site.stack.services:
        own = site.stack.readable(service)
        for container in service.containers:
            environment = json.dumps(containers()[container.name]["Config"]["Env"])
            assert holding(environment, site.secrets()) <= own, container.name


def test_only_granted_files_are_in_a_container(site: LabSite) -> None:
    """K31, U58: what each container finds in /run/secrets belongs to its service, and only its user can read it."""
    for service in site.stack.services:
        for container in service.containers:
            folder = site.rendered / "secrets" / container.name
            mounted = {
                mount["Destination"].rsplit("/", 1)[1]
                for mount in containers()[container.name]["Mounts"]
                if mount["Destination"].startswith("/run/secrets/")
            }
            assert mounted == ({path.name for path in folder.iterdir()} if folder.exists() else set())
            assert mounted <= site.stack.readable(service)


def test_files_with_a_secret_are_readable_by_their_reader_alone(site: LabSite) -> None:
    """K31, K102: 0600, and owned by root or by the user of the container that reads them."""
    secrets = site.secrets()
    users = {container.name: container.uid for container in site.stack.containers()}
    seen = [path for path in (site.folder / "rendered").rglob("*") if path.is_file()]
    with_secret = [path for path in seen if holding(path.read_text(errors="replace"), secrets)]
    assert len(with_secret) > len(users)
    for path in (*with_secret, site.folder / "secrets.env"):
        status = path.stat()
        assert status.st_mode & 0o777 == 0o600, path
        parts = path.relative_to(site.folder).parts
        allowed = {users[parts[2]]} if parts[:2] == ("rendered", "secrets") else {0, *users.values()}
        assert status.st_uid in allowed, path


@pytest.mark.parametrize("command", [("up",), ("up", "--dry-run"), ("status",)])
def test_no_secret_is_told(site: LabSite, command: tuple[str, ...]) -> None:
    """K31: neither on a terminal nor to a program."""
    for said in (site.kmuctl("--verbose", *command), site.kmuctl("--json", *command)):
        assert holding(said.stdout + said.stderr, site.secrets()) == set()


def test_no_secret_is_in_the_journal(site: LabSite) -> None:
    """K31: nor anywhere else in kmuctl's own state."""
    for path in (site.folder / "state").rglob("*"):
        if path.is_file():
            assert holding(path.read_text(), site.secrets()) == set(), path


def test_the_secrets_file_is_never_rewritten(site: LabSite) -> None:
    """K31, U54: a second `up` leaves it as it is, to the byte and to the inode."""
    path = site.folder / "secrets.env"
    before = path.read_bytes(), path.stat().st_ino
    site.up()
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_no_secret_is_in_an_image(site: LabSite) -> None:
    """K31: the panel's image is built on this machine."""
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", site.stack["panel"].containers[0].image)
    assert holding(history, site.secrets()) == set()
