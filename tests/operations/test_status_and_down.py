"""What runs, and how everything ends."""

from __future__ import annotations

from kmuctl.operations.down import down, purge, purgeable
from kmuctl.operations.status import status
from tests.fakes import Script
from tests.operations.scenes import FOLDER, changed, empty, forget, go_up, plan, running
from tests.support import stack


def test_everything_is_healthy() -> None:
    lines = status(stack(), running())
    assert {line.state for line in lines} == {"healthy"}
    assert all(line.fine for line in lines)
    assert [line.container for line in lines] == [container.name for container in stack().containers()]


def test_every_ailment_has_plain_words() -> None:
    """K86's ground."""
    host = running()
    host.engine.scripts = {
        "synapse": Script(end="unhealthy", says="no answer"),
        "element": Script(starting=10**6),
        "coturn": Script(end="restarting"),
        "dozzle": Script(end="exited"),
    }
    host.engine.remove("kmu", ["homepage"])
    host.engine.made["old-wiki"] = host.engine.made["caddy"]
    said = {line.container: line.state for line in status(stack(), host) if not line.fine}
    assert said == {
        "synapse": "unhealthy: no answer",
        "element": "starting",
        "coturn": "keeps stopping (exit code 78, 12 restarts)",
        "dozzle": "exited (exit code 1)",
        "homepage": "does not exist",
        "old-wiki": "not part of the site any more: `kmuctl up` removes it",
    }


def test_down_stops_everything_and_keeps_the_data() -> None:
    """D48."""
    host = running()
    host.write(f"{FOLDER}/data/nextcloud/html/report.odt", b"work")
    removed = down(stack(), host)
    assert removed == sorted(container.name for container in stack().containers())
    assert (host.engine.made, host.engine.subnets, host.engine.unnamed) == ({}, {}, set())
    assert host.read(f"{FOLDER}/data/nextcloud/html/report.odt") == b"work"


def test_up_after_down_finds_everything_as_it_was() -> None:
    """D48 D49: containers only; no secret, no file and no database is made again."""
    host = running()
    databases, roles = dict(host.cluster.found), dict(host.cluster.roles)
    down(stack(), host)
    done = changed(go_up(host))
    assert done == {f"container:{container.name}" for container in stack().containers()} | {"stalwart:setup"}
    assert (host.cluster.found, host.cluster.roles) == (databases, roles)


def test_purge_removes_all_but_the_site_file() -> None:
    """D49."""
    host = running()
    down(stack(), host)
    host.write(f"{FOLDER}/data/notes-of-the-admin.txt", b"mine")
    found = purgeable(stack(), host)
    assert {f"{FOLDER}/{name}" for name in ("data/postgres", "rendered", "secrets.env")} <= set(found)
    purge(stack(), host)
    assert host.tree(FOLDER) == ["data/notes-of-the-admin.txt", "kmu.toml"]
    assert purgeable(stack(), host) == []


def test_up_after_purge_starts_from_nothing() -> None:
    host = running()
    old = host.cluster.superuser
    down(stack(), host)
    purge(stack(), host)
    forget()
    assert all(outcome.state != "failed" for outcome in go_up(host).values())
    assert host.cluster.superuser != old
    assert changed(plan(host)) == set()


def test_status_of_an_empty_host() -> None:
    assert {line.state for line in status(stack(), empty())} == {"does not exist"}
