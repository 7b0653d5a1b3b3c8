"""`down`, what it leaves, and the way back."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import time

import pytest

from tests.lab.stack import LabSite, containers, docker, eventually, name_of, report
from tests.lab.test_database import connect
from tests.lab.test_failures import everything

pytestmark = pytest.mark.lab

PORTS = (25, 80, 443)


def synapse_database(site: LabSite) -> int:
    with connect("synapse", "synapse", site.secrets()["synapse_db_password"]) as connection:
        row = connection.execute("SELECT oid FROM pg_database WHERE datname = 'synapse'").fetchone()
    assert row
    return int(row[0])


@pytest.fixture(scope="module")
def database(site: LabSite) -> int:
    """Told apart from any later one of the same name."""
    return synapse_database(site)


def test_down_stops_everything_and_keeps_the_data(site: LabSite, database: int) -> None:
    """D48, PITFALLS 33: mail first, what it asks later; nothing stays in the engine; data, secrets and files do."""
    volumes = {m["Name"] for item in containers().values() for m in item["Mounts"] if m["Type"] == "volume"}
    names = {name: name_of(name) for name in ("stalwart", "authentik-ldap", "authentik-server", "postgres")}
    since = f"{time():.3f}"
    stopped = report(site.kmuctl("--json", "down"))
    died = docker(
        "events", "--since", since, "--until", f"{time():.3f}", "--filter", "event=die", "--format",
        "{{.Actor.Attributes.name}}",
    ).split()  # fmt: skip
    assert [name for name in died if name in names.values()] == [*names.values()]
    assert len(stopped["containers"]) == len(site.stack.containers())
    assert containers(everything=True) == {}
    assert not [name for name in docker("network", "ls", "--format", "{{.Name}}").split() if name.startswith("kmu_")]
    assert not volumes & set(docker("volume", "ls", "--quiet").split())
    assert (site.folder / "data/postgres/data/PG_VERSION").exists()
    assert (site.folder / "secrets.env").exists()


def test_status_of_a_stack_that_is_down(site: LabSite) -> None:
    """K86: every container is missing: exit 3. A second `down` has nothing to do: exit 0."""
    assert site.kmuctl("status").returncode == 3
    assert report(site.kmuctl("--json", "down"))["containers"] == []


@contextmanager
def taken(*ports: int) -> Iterator[None]:
    with ExitStack() as stack:
        for port in ports:
            server = stack.enter_context(socket.socket())
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
        yield


def test_ports_that_others_hold_are_named_before_anything_is_done(site: LabSite, database: int) -> None:
    """K22, M29: one message with each port and the process that holds it: exit 1."""
    before = everything(site)
    with taken(*PORTS):
        done = site.kmuctl("up")
    assert (done.returncode, everything(site)) == (1, before)
    for port in PORTS:
        line = next(line for line in done.stderr.splitlines() if f"port {port}/tcp" in line)
        assert f"process {os.getpid()}" in line


def test_a_killed_up_is_finished_by_the_next(site: LabSite, database: int) -> None:
    """K43, K56: kill -9 in the middle: its lock is free, the data is found again, everything gets healthy."""
    with site.started("up") as first:
        eventually(lambda: len(containers(everything=True)) >= 5, within=60, what="it is in the middle")
        first.kill()
    site.up()
    assert report(site.kmuctl("--json", "status"))["ok"] is True
    assert synapse_database(site) == database
    assert site.get("cloud", "/status.php").json()["installed"] is True


def typed(site: LabSite, answer: str) -> tuple[int, str]:
    """`down --purge` on a terminal, with an answer typed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(site.command("down", "--purge"), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:
        pass  # the terminal's other end is closed
    os.close(ours)
    return process.wait(timeout=120), said.decode()


def test_purge_wants_the_domain_typed(site: LabSite) -> None:
    """D49: what is lost is listed; anything but the domain keeps it all: exit 2."""
    before = everything(site)
    code, said = typed(site, "yes")
    assert (code, everything(site)) == (2, before)
    assert str(site.folder / "data") in said and "nothing was removed" in said


def test_purge_asks_nobody_who_cannot_answer(site: LabSite) -> None:
    """D49: without a terminal and without --yes: exit 2."""
    before = everything(site)
    done = site.kmuctl("down", "--purge")
    assert (done.returncode, everything(site), "--yes" in done.stderr) == (2, before, True)


def test_purge_leaves_nothing_but_the_site_file(site: LabSite) -> None:
    """D49: with the domain typed data, secrets and rendered files are gone for good."""
    code, said = typed(site, site.stack.site.domain)
    assert code == 0, said
    left = {path.name for path in site.folder.rglob("*") if not path.is_dir()}
    assert left == {".gitignore", "kmu.toml"}
    assert containers(everything=True) == {}
