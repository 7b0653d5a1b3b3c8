"""`kmuctl harden` as the admin types it, on a fresh server in memory."""

from __future__ import annotations

import json

import pytest

from kmuctl.model.host import Entry
from kmuctl.operations.harden import confirmation, undo
from tests.cli.runner import as_json, kmuctl, site_file
from tests.fakes.server import Server

ONLY_SSH = "[harden]\nsystem = false\ndocker = false\nfirewall = false\nfail2ban = false\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    machine = Server()
    monkeypatch.setattr("kmuctl.commands.harden.host_of", lambda stack: machine)
    monkeypatch.setattr("kmuctl.operations.harden.preflight.time", machine.now)
    monkeypatch.setattr(confirmation, "GRACE_SECONDS", -300)
    return machine


def test_the_plan_changes_nothing(server: Server) -> None:
    site_file(ONLY_SSH)
    before = dict(server.nodes)
    result = kmuctl("harden", "--dry-run")
    assert "change  ssh:settings  (to set: passwordauthentication" in result.stdout
    assert result.stdout.endswith("1 to change, 4 already right\n")
    assert server.nodes == before


def test_the_plan_as_an_exit_code(server: Server) -> None:
    site_file(ONLY_SSH)
    assert as_json(kmuctl("harden", "--dry-run", "--exit-code", "--json", code=3))["counts"]["change"] == 1
    kmuctl("harden")
    assert kmuctl("harden", "--dry-run", "--exit-code").stdout == "nothing to change\n"
    assert "--exit-code: only a plan" in kmuctl("harden", "--exit-code", code=2).stderr


def test_done_and_done_again(server: Server) -> None:
    """U36."""
    site_file(ONLY_SSH)
    first = kmuctl("harden")
    assert first.stdout.startswith("done: 1 changed, 4 were already right")
    assert "Next: `kmuctl up`" in first.stdout
    assert kmuctl("harden").stdout.startswith("nothing changed: all 5 steps were already right")


def test_the_journal_says_what_was_done(server: Server) -> None:
    site_file(ONLY_SSH)
    kmuctl("harden")
    lines = [json.loads(line) for line in server.text("/opt/kmu/state/journal.jsonl").splitlines()]
    assert [(line["command"], line["event"]) for line in lines] == [("harden", "started"), ("harden", "ended")]


def test_two_at_once(server: Server) -> None:
    site_file(ONLY_SSH)
    server.make_folder("/opt/kmu/state", mode=0o700, uid=0)
    server.held["/opt/kmu/state/lock"] = "`kmuctl up`, process 812"
    assert "`kmuctl up`, process 812" in kmuctl("harden", code=4).stderr


def test_a_failure_says_what_to_do(server: Server) -> None:
    site_file(ONLY_SSH)
    server.lets_in = False
    result = kmuctl("harden", code=1)
    assert "failed  ssh:settings: the server takes none of the keys; the change is undone" in result.stderr
    assert result.stdout.startswith("not done: 1 failed")
    assert "the next `kmuctl harden` goes on from here" in result.stdout


def test_the_confirmation_from_another_session(server: Server) -> None:
    """While a `harden` that waits for it holds the lock."""
    site_file(ONLY_SSH)
    server.lets_in = None
    assert "kmuctl harden --confirm" in kmuctl("harden", code=1).stderr
    server.held["/opt/kmu/state/lock"] = "`kmuctl harden`, process 812"
    assert "open one NOW and type it there" in kmuctl("harden", "--confirm", code=1).stderr
    server.came = Entry(user="root", ssh_port=22, client="198.51.100.20", session="two", since=server.now() + 1)
    assert kmuctl("harden", "--confirm").stdout == "confirmed: ssh\n"
    assert as_json(kmuctl("harden", "--confirm", "--json")) == {"format": 1, "confirmed": []}


def test_where_docker_comes_from(server: Server) -> None:
    site_file(ONLY_SSH.replace("docker = false", "docker = true"))
    assert "docker:source" in kmuctl("harden", "--dry-run").stdout
    assert "docker:source" not in kmuctl("harden", "--dry-run", "--docker-source", "distro").stdout
    assert "`snap` is unknown" in kmuctl("harden", "--docker-source", "snap", code=2).stderr


def test_a_machine_that_is_not_fit(server: Server) -> None:
    site_file()
    server.write("/etc/os-release", b"ID=arch\n")
    assert "it runs Arch (amd64)" in kmuctl("harden", code=1).stderr


def test_what_was_undone_before_is_told_once(server: Server) -> None:
    """And does not fail a run for ever: by now all may hold without it."""
    site_file(ONLY_SSH)
    kmuctl("harden")
    server.write(undo.marker("ssh"), b"2026-11-28 20:00:00 UTC\n")
    told = kmuctl("harden")
    assert "the last change of ssh was undone at 2026-11-28 20:00:00 UTC" in told.stderr
    assert told.stdout.startswith("nothing changed")
    assert "undone" not in kmuctl("harden").stderr


def test_a_change_that_still_waits_is_told_at_the_end(server: Server) -> None:
    site_file(ONLY_SSH)
    server.lets_in = None
    assert "warning: ssh not confirmed yet: open a NEW session" in kmuctl("harden", code=1).stderr
