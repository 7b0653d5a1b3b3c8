"""`up`, `down`, `status`, `logs`, `exec` at the command line, on a machine in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmuctl.model.host import Host
from kmuctl.model.secrets import parse
from tests.cli.runner import as_json, kmuctl, site_file
from tests.fakes import FakeHost, Machine, Script
from tests.golden import golden
from tests.operations.scenes import FOLDER, running
from tests.support import stack


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A machine on which the site runs."""
    site_file()
    return use(monkeypatch, running())


def use(monkeypatch: pytest.MonkeyPatch, host: FakeHost) -> FakeHost:
    for module in ("up", "operate"):
        monkeypatch.setattr(f"kmuctl.commands.{module}.LocalHost", lambda: host)
    return host


def pretty(data: dict[str, Any]) -> str:
    steady = {key: 0 if key == "seconds" else value for key, value in data.items()}
    return json.dumps(steady, indent=2, ensure_ascii=False) + "\n"


def test_up_from_nothing_and_again(host: FakeHost) -> None:
    """K18 K43 K90 K91 U36 D36: it ends with where to go; the second run says that nothing changed."""
    site_file()
    first = kmuctl("up")
    assert first.stdout.startswith("done: ")
    for url in ("https://acme.example/", "https://cloud.acme.example/", "https://auth.acme.example/if/admin/"):
        assert f"  {url}  (" in first.stdout
    assert "First sign-in: `mmustermann`" in first.stdout
    assert "change  container:nextcloud" in first.stderr
    second = kmuctl("up")
    assert second.stdout.startswith("nothing changed: all ")
    assert second.stderr == ""


def test_up_never_prints_a_secret(host: FakeHost) -> None:
    """K102: neither value nor length, in any output; the journal neither."""
    site_file()
    result = kmuctl("--verbose", "up")
    values = [value.reveal() for value in parse(host.text(f"{FOLDER}/secrets.env"), host.read, path="").values()]
    said = result.stdout + result.stderr + host.text(f"{FOLDER}/state/journal.jsonl")
    assert [value for value in values if value in said] == []


def test_the_plan_as_json(host: FakeHost) -> None:
    site_file()
    result = kmuctl("--json", "up", "--dry-run")
    golden("plan-empty-host.json", pretty(as_json(result)))
    assert host.tree(FOLDER) == []


def test_the_plan_as_text(host: FakeHost) -> None:
    """D36: causes, a summary, and nothing done."""
    site_file()
    text = kmuctl("up", "--dry-run").stdout
    assert "change  image:caddy:2.11.7  (not on this machine)\n" in text
    assert text.splitlines()[-1].endswith("already right, 4 to be seen later")
    assert host.tree(FOLDER) == []


def test_the_exit_code_of_a_plan(up: FakeHost) -> None:
    kmuctl("up")
    assert kmuctl("up", "--dry-run", "--exit-code").stdout == "nothing to change\n"
    up.engine.stop("homepage")
    kmuctl("up", "--dry-run", "--exit-code", code=3)
    kmuctl("up", "--dry-run")


def test_verbose_shows_what_is_right(up: FakeHost) -> None:
    kmuctl("up")
    assert "ok      container:caddy" in kmuctl("-v", "up").stderr


def test_up_as_json(up: FakeHost) -> None:
    site_file("[branding]\ncolor = '#112233'\n")
    kmuctl("up")
    up.engine.stop("homepage")
    golden("up.json", pretty(as_json(kmuctl("up", "--json"))))


def test_a_failure_shows_container_log_and_hint(up: FakeHost) -> None:
    """K44 K85: exit code 1."""
    kmuctl("up")
    up.engine.scripts["synapse"] = Script(end="unhealthy", says="connection refused")
    result = kmuctl("up", code=1)
    assert "failed  container:synapse: synapse is unhealthy: connection refused" in result.stderr
    assert "the last log lines of synapse:\n    synapse says: connection refused\n" in result.stderr
    assert "hint: `kmuctl logs synapse` shows more; then run `kmuctl up` again" in result.stderr
    assert result.stdout.startswith("not done: 1 failed, ")
    data = as_json(kmuctl("up", "--json", code=1))
    assert data["ok"] is False
    assert {"step": "container:synapse", "state": "failed"}.items() <= data["steps"][0].items()


def test_up_of_one_service(host: FakeHost) -> None:
    site_file()
    kmuctl("up", "--only", "homepage")
    assert set(host.engine.made) == {"homepage"}


def test_an_unknown_service_changes_nothing(host: FakeHost) -> None:
    site_file()
    for more in ((), ("--dry-run",)):
        result = kmuctl("up", "--only", "wiki", *more, code=2)
        assert result.stderr.startswith("error: --only: no service `wiki` in this site")
    assert host.tree(FOLDER) == []


def test_pull_fetches_images_again(up: FakeHost) -> None:
    """D34."""
    kmuctl("up")
    del up.engine.images["caddy:2.11.7"]["id"]
    result = kmuctl("up", "--pull")
    assert "pull    caddy:2.11.7" in result.stderr
    assert "kmuctl-panel" not in result.stderr


def test_a_second_kmuctl_is_refused(up: FakeHost) -> None:
    """Exit code 4."""
    up.held[f"{FOLDER}/state/lock"] = "`kmuctl up`, process 4711"
    before = up.snapshot()
    for command in ("up", "down"):
        assert "another kmuctl is at work here: `kmuctl up`, process 4711" in kmuctl(command, code=4).stderr
    assert as_json(kmuctl("--json", "up", code=4))["exit_code"] == 4
    kmuctl("status")
    kmuctl("up", "--dry-run")
    assert up.snapshot() == before


def test_ctrl_c_ends_with_130_and_frees_the_lock(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kmuctl.commands.up.up", interrupted)
    result = kmuctl("up", code=130)
    assert result.stderr == "interrupted: the same command goes on from here\n"
    assert up.held == {}


def test_a_host_elsewhere_is_refused_for_now() -> None:
    site_file('address = "ssh://root@203.0.113.9"\n')
    assert "this version works on its own machine only" in kmuctl("up", code=1).stderr


def test_a_machine_that_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """D30 D47: exit code 1, all reasons, nothing changed."""
    site_file()
    unfit = use(monkeypatch, Machine(disk=10, memory=512).host())
    text = kmuctl("up", code=1).stderr
    assert text.startswith("error: this machine is not ready:\n  512 MiB of memory")
    assert "\n  10 MiB free on the disk" in text
    assert unfit.tree(FOLDER) == []


def test_tight_memory_is_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    site_file()
    use(monkeypatch, Machine(memory=stack().memory() - 1).host())
    assert "warning: " in kmuctl("up", "--dry-run").stderr


def test_an_old_data_folder_without_its_secret_is_refused(up: FakeHost) -> None:
    up.remove(f"{FOLDER}/secrets.env")
    before = up.snapshot()
    for more in ((), ("--dry-run",)):
        assert "has no POSTGRES_PASSWORD, but its data exists" in kmuctl("up", *more, code=2).stderr
    assert up.snapshot() == before


def test_down_keeps_the_data(up: FakeHost) -> None:
    """D48."""
    result = kmuctl("down", "--json")
    golden("down.json", pretty(as_json(result)))
    assert up.engine.made == {}
    assert f"{FOLDER}/data/postgres/data/PG_VERSION" in up.nodes
    assert "data stays in `/opt/kmu/data`" in kmuctl("down").stdout


def test_purge_without_a_person_and_without_yes_is_refused(up: FakeHost) -> None:
    """D49."""
    before = up.snapshot()
    result = kmuctl("down", "--purge", code=2)
    assert result.stderr == ("error: --purge removes all data for good\n\nhint: add --yes if that is what you want\n")
    assert up.snapshot() == before


def test_purge_with_yes_removes_all_data(up: FakeHost) -> None:
    """D49."""
    text = kmuctl("down", "--purge", "--yes").stdout
    assert "removed: /opt/kmu/data/postgres\n" in text
    assert up.tree(FOLDER) == ["kmu.toml"]


@pytest.mark.parametrize(("typed", "goes"), [("acme.example", True), ("yes", False), ("", False)])
def test_purge_wants_the_domain_typed(up: FakeHost, monkeypatch: pytest.MonkeyPatch, typed: str, goes: bool) -> None:
    """D49: on a terminal, with a list of what is lost."""
    monkeypatch.setattr("kmuctl.console.Console.interactive", True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: typed)
    result = kmuctl("down", "--purge", code=0 if goes else 2)
    assert "This removes for good" in result.stderr
    assert "  /opt/kmu/secrets.env\n" in result.stderr
    assert (f"{FOLDER}/secrets.env" in up.nodes) is not goes
    assert bool(up.engine.made) is not goes


def test_status_of_a_healthy_site(up: FakeHost) -> None:
    assert kmuctl("status").stdout.endswith(f"all {len(stack().containers())} containers are healthy\n")
    golden("status.json", pretty(as_json(kmuctl("status", "--json"))))


def test_status_ends_with_3_when_something_is_not_well(up: FakeHost) -> None:
    """K86's ground."""
    up.engine.scripts["synapse"] = Script(end="unhealthy", says="no answer")
    result = kmuctl("status", code=3)
    assert "unhealthy: no answer" in result.stdout
    assert result.stdout.endswith(f"1 of {len(stack().containers())} containers are not well\n")
    assert as_json(kmuctl("status", "--json", code=3))["ok"] is False


def test_logs_of_a_service_and_of_a_container(up: FakeHost) -> None:
    """K90 D48."""
    assert kmuctl("logs", "synapse").stdout == "synapse says: nothing\n"
    text = kmuctl("logs", "jitsi").stdout
    assert text.startswith("== jitsi-web ==\njitsi-web says")
    assert as_json(kmuctl("logs", "--json", "jitsi-jvb"))["logs"] == {"jitsi-jvb": "jitsi-jvb says: nothing\n"}


@pytest.mark.parametrize("command", [("logs", "wiki"), ("logs", "-f", "wiki"), ("exec", "wiki", "--", "ls")])
def test_unknown_names(up: FakeHost, command: tuple[str, ...]) -> None:
    result = kmuctl(*command, code=2)
    assert result.stderr.startswith("error: no service or container `wiki` in this site\n\nhint: one of: caddy, ")


def test_exec_in_a_container_that_is_not_there(up: FakeHost) -> None:
    up.engine.remove("kmu", ["synapse"])
    assert "`synapse` is not running" in kmuctl("exec", "synapse", "--", "ls", code=1).stderr


def test_the_fake_is_a_host(host: FakeHost) -> None:
    """mypy proves it: no method may be missing."""
    machine: Host = host
    assert machine is host
