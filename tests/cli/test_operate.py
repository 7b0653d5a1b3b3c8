"""`up`, `down`, `status`, `logs`, `exec` at the command line, on a machine in memory."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from kmuctl.model.errors import HostError
from kmuctl.model.host import Host
from kmuctl.model.secrets import parse
from kmuctl.operations.caddy import RELOAD
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
    monkeypatch.setattr("kmuctl.commands.host.LocalHost", lambda: host)
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
    assert "First sign-in: `kmuctl login-link` lets `mmustermann` in" in first.stdout
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
    assert re.search(r"already right, \d+ to be seen later$", text.rstrip())
    assert host.tree(FOLDER) == []


def test_the_exit_code_of_a_plan(up: FakeHost) -> None:
    kmuctl("up")
    assert kmuctl("up", "--dry-run", "--exit-code").stdout == "nothing to change\n"
    up.engine.stop("kmu", "homepage")
    kmuctl("up", "--dry-run", "--exit-code", code=3)
    kmuctl("up", "--dry-run")


def test_the_exit_code_of_a_plan_needs_a_plan(host: FakeHost) -> None:
    site_file()
    result = kmuctl("up", "--exit-code", code=2)
    assert result.stderr.startswith("error: --exit-code: only a plan has that exit code\n\nhint: add --dry-run")
    assert host.tree(FOLDER) == []


@pytest.mark.parametrize("words", [("-v", "up"), ("up", "-v")])
def test_verbose_shows_what_is_right(up: FakeHost, words: tuple[str, ...]) -> None:
    kmuctl("up")
    assert "ok      container:caddy\n" in kmuctl(*words).stderr


def test_up_as_json(up: FakeHost) -> None:
    site_file("[branding]\ncolor = '#112233'\n")
    kmuctl("up")
    up.engine.stop("kmu", "homepage")
    golden("up.json", pretty(as_json(kmuctl("up", "--json"))))


def test_a_failure_shows_container_log_and_hint(up: FakeHost) -> None:
    """K44 K85: exit code 1."""
    kmuctl("up")
    up.engine.scripts["synapse"] = Script(end="restarting", says="connection refused")
    result = kmuctl("up", code=1)
    assert "failed  container:synapse: synapse keeps stopping (exit code 78, 12 restarts)" in result.stderr
    assert "the last log lines of synapse:\n    synapse says: connection refused\n" in result.stderr
    assert "hint: `kmuctl logs synapse` shows more; then run `kmuctl up` again" in result.stderr
    assert result.stdout.startswith("not done: 1 failed, ")
    data = as_json(kmuctl("up", "--json", code=1))
    assert data["ok"] is False
    assert {"step": "container:synapse", "state": "failed"}.items() <= data["steps"][0].items()


def test_up_of_one_service(host: FakeHost) -> None:
    site_file()
    kmuctl("up", "--only", "homepage")
    assert set(host.engine.made) == {"homepage", "caddy"}


def test_an_unknown_service_changes_nothing(host: FakeHost) -> None:
    site_file()
    for more in ((), ("--dry-run",)):
        result = kmuctl("up", "--only", "wiki", *more, code=2)
        assert result.stderr.startswith("error: --only: no service `wiki` in this site")
    assert host.tree(FOLDER) == []


def test_pull_fetches_images_again(up: FakeHost) -> None:
    """D34: all that a registry has; the plan says so."""
    kmuctl("up")
    assert "change  image:caddy:2.11.7  (to fetch again)\n" in kmuctl("up", "--pull", "--dry-run").stdout
    up.engine.images["caddy:2.11.7"]["id"] = "sha256:old"
    result = kmuctl("up", "--pull")
    assert "change  image:caddy:2.11.7  (to fetch again)\n" in result.stderr
    assert up.engine.images["caddy:2.11.7"]["id"] != "sha256:old"
    assert "kmuctl-panel" not in result.stderr


def test_an_image_that_cannot_be_fetched_again_is_a_failed_step(up: FakeHost) -> None:
    up.engine.registry = set()
    result = kmuctl("up", "--pull", code=1)
    assert "failed  image:caddy:2.11.7: cannot pull `caddy:2.11.7`: manifest unknown" in result.stderr
    assert result.stdout.startswith("not done: ")


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


def interrupt(*_: object) -> None:
    """Ctrl-C while a step is at work, which goes on for long."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    Event().wait(30)


def journal(host: FakeHost) -> list[str]:
    return [json.loads(line)["event"] for line in host.text(f"{FOLDER}/state/journal.jsonl").splitlines()]


def test_ctrl_c_ends_at_once_with_130_and_frees_the_lock(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """K43: nothing comes after the message; the journal knows."""
    monkeypatch.setattr(up.engine, "pull", interrupt)
    up.engine.images.clear()
    started = monotonic()
    result = kmuctl("up", code=130)
    assert monotonic() - started < 10
    assert result.stderr.endswith("interrupted: the same command goes on from here\n")
    assert (result.stdout, up.held, journal(up)) == ("", {}, ["started", "interrupted"])
    assert as_json(kmuctl("--json", "up", code=130)) == {
        "format": 1,
        "error": "interrupted",
        "hint": "the same command goes on from here",
        "exit_code": 130,
    }


def test_the_journal_says_how_up_ended(up: FakeHost) -> None:
    kmuctl("up")
    up.engine.scripts["synapse"] = Script(end="restarting", says="no answer")
    kmuctl("up", code=1)
    assert journal(up) == ["started", "ended", "started", "failed"]


def test_a_disk_that_is_full_at_the_end_does_not_hide_the_report(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    write = up.write

    def full(path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        if path.endswith("journal.jsonl") and b"started" in content and up.nodes.get(path):
            raise HostError("cannot write: no space left on device")
        write(path, content, mode=mode, uid=uid)

    kmuctl("up")
    up.remove(f"{FOLDER}/state/journal.jsonl")
    monkeypatch.setattr(up, "write", full)
    assert kmuctl("up").stdout.startswith("nothing changed: ")


def test_an_engine_that_went_away_does_not_hide_the_report(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> str:
        raise HostError("the Docker engine does not answer")

    monkeypatch.setattr(up.engine, "logs", gone)
    up.engine.scripts["synapse"] = Script(end="restarting", says="no answer")
    result = kmuctl("up", code=1)
    assert "the last log lines of synapse:\nhint: " in result.stderr
    assert result.stdout.startswith("not done: 1 failed, ")


COMMANDS = (
    ("up",), ("up", "--dry-run"), ("down",), ("down", "--purge", "--yes"), ("status",), ("logs", "caddy"),
    ("logs", "-f", "caddy"), ("exec", "caddy", "--", "ls"), ("login-link",),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_containers_of_another_site_are_left_alone(up: FakeHost, command: tuple[str, ...]) -> None:
    site_file('folder = "/srv/other"\n')
    before = up.snapshot()
    assert "/opt/kmu" in kmuctl(*command, code=1).stderr
    assert up.snapshot() == before


def test_a_plan_that_would_fail_says_so(up: FakeHost) -> None:
    """Exit code 1, with the hint, whatever else would change."""
    kmuctl("up")
    up.engine.caddy_refuses = "unknown directive"
    up.write(f"{FOLDER}/rendered/caddy/Caddyfile", b"changed")
    for more in ((), ("--exit-code",)):
        lines = kmuctl("up", "--dry-run", *more, code=1).stdout.splitlines()
        assert any(line.startswith("failed  caddy:config  (") for line in lines)
        assert lines[-1].startswith("not ready: 1 failed, ")


def test_backup_is_not_there_yet(up: FakeHost) -> None:
    site_file('[backup]\nschedule = "02:30"\n')
    for more in ((), ("--dry-run",)):
        said = kmuctl("up", *more).stderr
        assert said.count("warning: [backup] in the site file is not used by this version yet") == 1
    site_file("[backup]\n")
    assert "warning" not in kmuctl("up").stderr


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


def test_ctrl_c_at_the_question_removes_nothing(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    before = up.snapshot()
    monkeypatch.setattr("kmuctl.console.Console.interactive", True)
    monkeypatch.setattr("typer.prompt", interrupted)
    assert kmuctl("down", "--purge", code=130).stderr.endswith("\ninterrupted: nothing was removed\n")
    assert up.snapshot() == before


def test_ctrl_c_elsewhere_promises_nothing(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmuctl.commands.operate.status", interrupted)
    assert kmuctl("status", code=130).stderr == "interrupted\n"


def interrupted(*_: object, **__: object) -> str:
    raise KeyboardInterrupt


def test_status_of_a_healthy_site(up: FakeHost) -> None:
    assert kmuctl("status").stdout.endswith(f"all {len(stack().containers())} containers are healthy\n")
    golden("status.json", pretty(as_json(kmuctl("status", "--json"))))


def test_status_shows_when_timers_ran_and_how_it_ended(up: FakeHost) -> None:
    """K8: a night that went wrong shows."""
    up.systemd.ends["kmuctl-certs.service"] = (1790000000, "success", 0)
    [timer] = as_json(kmuctl("status", "--json"))["timers"]
    assert timer == {
        "timer": "kmuctl-certs", "active": True, "ended": "2026-09-21T14:13:20+00:00", "result": "success",
        "exit_code": 0,
    }  # fmt: skip
    assert "kmuctl-certs" in kmuctl("status").stdout


@pytest.mark.parametrize("wrong", ["failed", "stopped"])
def test_status_of_a_timer_that_is_not_well(up: FakeHost, wrong: str) -> None:
    if wrong == "failed":
        up.systemd.ends["kmuctl-certs.service"] = (1790000000, "exit-code", 1)
    else:
        up.systemd.active.clear()
    said = kmuctl("status", code=3).stdout
    assert said.endswith("kmuctl-certs is not well: `journalctl -u kmuctl-certs` says more\n")
    assert ("exit-code (1)" if wrong == "failed" else "it is not active") in said


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


def test_a_container_named_like_its_service(up: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The name means that container; --all the whole service."""
    docker(monkeypatch, tmp_path, 'echo "$@" >said')
    assert kmuctl("logs", "nextcloud").stdout == "nextcloud says: nothing\n"
    assert set(as_json(kmuctl("logs", "nextcloud", "--all", "--json"))["logs"]) == {
        "nextcloud", "nextcloud-cron", "nextcloud-valkey",
    }  # fmt: skip
    kmuctl("exec", "nextcloud", "--", "ls")
    assert Path("said").read_text().endswith(" exec -T nextcloud ls\n")
    assert "--all: no service `jitsi-web` in this site" in kmuctl("logs", "--all", "jitsi-web", code=2).stderr


def test_occ_runs_as_its_user_and_keeps_every_word(
    up: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """K118: also words that look like options of kmuctl."""
    docker(monkeypatch, tmp_path, 'echo "$@" >said; exit 3')
    kmuctl("occ", "app:list", "--output=json", "-v", "--json", "--help", code=3)
    words = "setpriv --reuid=33 --regid=33 --clear-groups php /var/www/html/occ app:list --output=json -v --json --help"
    assert Path("said").read_text().endswith(f" exec -T nextcloud {words}\n")


def test_occ_without_nextcloud(host: FakeHost) -> None:
    site_file("[apps]\nnextcloud = false\n")
    assert "no service or container `nextcloud` in this site" in kmuctl("occ", "status", code=2).stderr


def test_stalwarts_tool_has_the_key_and_shows_it_to_nobody(
    up: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the environment; arguments stand in the list of processes."""
    docker(monkeypatch, tmp_path, 'echo "$@" >said; printf %s "$STALWART_TOKEN" >token; exit 3')
    kmuctl("stalwart-cli", "query", "Domain", "--json", code=3)
    said, key = Path("said").read_text(), up.text(f"{FOLDER}/state/stalwart.key")
    assert said.endswith(" --env STALWART_TOKEN stalwartlabs/cli:1.0.8 query Domain --json\n")
    assert "--network kmu_mail --cap-drop ALL" in said
    assert Path("token").read_text() == key
    assert key not in said


def test_a_plan_reaches_stalwarts_tool_by_standard_input(
    up: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its container mounts nothing, so it could read no path of this machine."""
    docker(monkeypatch, tmp_path, 'echo "$@" >said; cat >got')
    plan = Path("plan.ndjson")
    plan.write_text('{"@type": "update"}\n')
    with standard_input(plan):
        kmuctl("stalwart-cli", "apply", "--stdin")
    assert Path("got").read_text() == plan.read_text()
    said = Path("said").read_text()
    assert (" --interactive " in said, " --tty " in said, "--volume" in said) == (True, False, False)


@contextmanager
def standard_input(path: Path) -> Iterator[None]:
    """As a shell's `<path` does it, for the programs that we start."""
    kept = os.dup(0)
    with path.open("rb") as file:
        os.dup2(file.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_stalwarts_tool_before_and_without_stalwart(host: FakeHost) -> None:
    site_file()
    assert "`stalwart` is not set up and running" in kmuctl("stalwart-cli", "describe", code=1).stderr
    site_file("[apps]\nstalwart = false\n")
    assert "no service or container `stalwart` in this site" in kmuctl("stalwart-cli", "describe", code=2).stderr


def test_what_is_not_as_wished_is_a_warning(up: FakeHost) -> None:
    """K55: `up` succeeds, tells it each time, and changes nothing the second time."""
    site_file('[nextcloud]\napps = ["jitsi"]\n')
    up.http.nextcloud.store = set()
    assert "warning: Nextcloud lacks apps of [nextcloud] in the site file (`jitsi`: " in kmuctl("up").stderr
    again = kmuctl("up")
    assert again.stdout.startswith("nothing changed: ")
    assert "warning: Nextcloud lacks apps" in again.stderr
    assert "warning: Nextcloud lacks apps" in kmuctl("up", "--dry-run").stderr
    [warning] = as_json(kmuctl("--json", "up"))["warnings"]
    assert warning.startswith("Nextcloud lacks apps")


def test_exec_needs_one_container(up: FakeHost) -> None:
    assert kmuctl("exec", "jitsi", "--", "ls", code=2).stderr == (
        "error: `jitsi` has several containers\n\nhint: one of: jitsi-web, jitsi-prosody, jitsi-jicofo, jitsi-jvb\n"
    )


@pytest.mark.parametrize("command", [("logs", "wiki"), ("logs", "-f", "wiki"), ("exec", "wiki", "--", "ls")])
def test_unknown_names(up: FakeHost, command: tuple[str, ...]) -> None:
    result = kmuctl(*command, code=2)
    assert result.stderr.startswith("error: no service or container `wiki` in this site\n\nhint: one of: caddy, ")


@pytest.mark.parametrize("more", [(), ("-f",)])
def test_logs_of_a_container_that_is_not_there(up: FakeHost, more: tuple[str, ...]) -> None:
    up.engine.remove("kmu", ["synapse"])
    result = kmuctl("logs", "synapse", *more, code=1)
    assert result.stderr == (
        "error: no container now: synapse\n\nhint: `kmuctl up` makes it; `kmuctl status` shows what there is\n"
    )


def test_one_container_that_is_not_there_does_not_hide_the_others(up: FakeHost) -> None:
    up.engine.remove("kmu", ["jitsi-jvb"])
    result = kmuctl("logs", "jitsi")
    assert result.stderr == "warning: no container now: jitsi-jvb\n"
    assert "jitsi-web says" in result.stdout


def test_logs_cannot_be_followed_as_json(up: FakeHost) -> None:
    data = as_json(kmuctl("logs", "-f", "--json", "synapse", code=2))
    assert data["error"] == "logs: --follow never ends, so it has no --json"
    assert data["hint"] == "leave one of the two out"


@pytest.mark.parametrize(
    ("end", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -INT $PPID; sleep 0.1; exit 5", 130)]
)
@pytest.mark.parametrize("command", [("logs", "-f", "synapse"), ("exec", "synapse", "--", "ls")])
def test_dockers_own_exit_code_is_handed_on(
    up: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...], end: str, code: int
) -> None:
    docker(monkeypatch, tmp_path, end)
    assert kmuctl(*command, code=code).stderr == ""


def docker(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """The command-line client, as a script of our own."""
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_docker_that_is_not_installed(up: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "error: `docker` is not installed" in kmuctl("logs", "-f", "synapse", code=1).stderr


def test_exec_in_a_container_that_does_not_run(up: FakeHost) -> None:
    up.engine.stop("kmu", "element")
    up.engine.remove("kmu", ["synapse"])
    for name in ("synapse", "element"):
        assert f"`{name}` is not running" in kmuctl("exec", name, "--", "ls", code=1).stderr


LINK = "https://auth.acme.example/recovery/use-token/k3y/"


@pytest.mark.parametrize("name", [(), ("mmustermann",)])
def test_a_link_for_who_has_no_password(up: FakeHost, name: tuple[str, ...]) -> None:
    """K30 K102: the link alone on stdout; what to do with it beside."""
    result = kmuctl("login-link", *name)
    assert result.stdout == f"{LINK}\n"
    assert "Signs in `mmustermann` once, within 60 minutes." in result.stderr


def test_a_link_as_json(up: FakeHost) -> None:
    assert as_json(kmuctl("login-link", "--json")) == {"format": 1, "user": "mmustermann", "link": LINK, "minutes": 60}


def test_no_link_for_a_stranger(up: FakeHost) -> None:
    result = kmuctl("login-link", "stranger", code=1)
    assert "error: Authentik makes no link for `stranger`: User 'stranger' not found." in result.stderr


@pytest.mark.parametrize(("there", "state"), [(True, "exited"), (False, "not there")])
def test_no_link_without_authentik(up: FakeHost, there: bool, state: str) -> None:
    up.engine.stop("kmu", "authentik-worker") if there else up.engine.remove("kmu", ["authentik-worker"])
    assert kmuctl("login-link", code=1).stderr == (
        f"error: authentik-worker is {state}\n\nhint: `kmuctl up` starts it\n"
    )


def test_down_and_login_link_leave_a_trace(up: FakeHost) -> None:
    """Who was let in, never with what."""
    kmuctl("login-link")
    kmuctl("login-link", "stranger", code=1)
    kmuctl("down")
    text = up.text(f"{FOLDER}/state/journal.jsonl")
    assert journal(up) == ["started", "ended", "started", "failed", "started", "ended"]
    assert [json.loads(line).get("user") for line in text.splitlines()][::2] == ["mmustermann", "stranger", None]
    assert "k3y" not in text


def test_exec_as_json(up: FakeHost) -> None:
    data = as_json(kmuctl("exec", "--json", "caddy", "--", *RELOAD))
    assert data == {"format": 1, "code": 0, "stdout": "", "stderr": ""}


def test_exec_without_the_dashes_is_a_usage_error(up: FakeHost) -> None:
    """It would be an option of ours."""
    result = kmuctl("exec", "synapse", "ls", "-l", code=2)
    assert "Try 'kmuctl exec -h' for help." in result.stderr
    assert "No such option: -l" in result.stderr


def test_the_fake_is_a_host(host: FakeHost) -> None:
    """mypy proves it: no method may be missing."""
    machine: Host = host
    assert machine is host
