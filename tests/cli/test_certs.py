"""`kmuctl certs sync` as the timer runs it."""

from __future__ import annotations

import json

import pytest

from kmuctl.operations import certs
from tests.cli.runner import as_json, kmuctl, site_file
from tests.cli.test_operate import use
from tests.fakes import FakeHost, Machine
from tests.operations.scenes import FOLDER, empty, go_up, running

RENDERED, JOURNAL = f"{FOLDER}/rendered", f"{FOLDER}/state/journal.jsonl"


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    site_file()
    return use(monkeypatch, running())


def test_a_quiet_night(up: FakeHost) -> None:
    """One line, and none in the journal that would push out the others."""
    up.write(JOURNAL, b"")
    result = kmuctl("certs", "sync")
    assert result.stdout == "nothing changed: certificates of turn.acme.example and mail.acme.example\n"
    assert (result.stderr, up.text(JOURNAL)) == ("", "")


def test_a_renewal(up: FakeHost) -> None:
    """K8: what was done, and that it was done; the journal knows."""
    up.engine.certify(RENDERED, number=2)
    result = kmuctl("certs", "sync")
    assert result.stdout == "handed on: certificates of turn.acme.example and mail.acme.example\n"
    assert "change  certs:mail  (mail.acme.example is new)" in result.stderr
    lines = [json.loads(line) for line in up.text(JOURNAL).splitlines()]
    assert [(line["command"], line["event"]) for line in lines[-2:]] == [
        ("certs sync", "started"), ("certs sync", "ended"),
    ]  # fmt: skip


def test_a_program_that_keeps_the_old_one_is_an_error(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """K8: exit code 1, the port, and what to look at."""
    monkeypatch.setattr(certs, "DEADLINE", 0)
    up.http.coturn.deaf = True
    up.engine.certify(RENDERED, number=2)
    result = kmuctl("certs", "sync", code=1)
    assert "failed  certs:turn:served: port 5349 of turn.acme.example serves an old certificate" in result.stderr
    assert "hint: `kmuctl logs coturn` shows more; then run `kmuctl certs sync` again" in result.stderr
    assert result.stdout == "not done: `kmuctl certs sync` goes on from here\n"


def test_an_expired_certificate_is_an_error(up: FakeHost) -> None:
    up.engine.certify(RENDERED, number=2, days=-1)
    result = kmuctl("certs", "sync", code=1)
    assert "warning: coturn cannot have it: the certificate of turn.acme.example expired on " in result.stderr


def test_a_certificate_that_caddy_does_not_have_yet_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """K8: DNS may take days; `up` says so too, beside the addresses that do not open."""
    site_file()
    host = use(monkeypatch, empty())
    host.engine.certifies = False
    for command in (("up",), ("certs", "sync")):
        assert "warning: no certificate yet for auth.acme.example, " in kmuctl(*command).stderr
    data = as_json(kmuctl("--json", "certs", "sync"))
    assert (data["ok"], data["steps"], len(data["warnings"])) == (True, [], 1)


def test_a_stopped_stack_needs_nothing(up: FakeHost) -> None:
    """The timer goes on after `down`."""
    up.engine.stop("kmu", "caddy")
    assert kmuctl("certs", "sync").stdout == "nothing to do: the stack is stopped\n"


def test_while_another_is_at_work_it_waits_for_the_next_hour(up: FakeHost) -> None:
    up.held[f"{FOLDER}/state/lock"] = "`kmuctl up`, process 4711"
    assert "another kmuctl is at work here" in kmuctl("certs", "sync", code=4).stderr


def test_up_says_which_line_cron_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no systemd runs, nothing would renew."""
    site_file()
    host = Machine(systemd=False).host()
    go_up(host)
    use(monkeypatch, host)
    monkeypatch.setattr("sys.argv", ["/usr/local/bin/kmuctl"])
    line = "17 * * * * /usr/local/bin/kmuctl --host local --site /opt/kmu/kmu.toml certs sync"
    assert f"nothing renews the certificates of mail and calls: have cron run `{line}`" in kmuctl("up").stderr


def test_the_group_needs_a_command() -> None:
    assert "sync" in kmuctl("certs", "--help").stdout
