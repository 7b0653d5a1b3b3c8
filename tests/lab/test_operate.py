"""`status`, `logs`, `exec` on the running stack."""

from __future__ import annotations

import json

import pytest

from tests.lab.stack import LabSite, docker, name_of, report

pytestmark = pytest.mark.lab


def test_status_of_a_healthy_stack(site: LabSite) -> None:
    """K86, K90: every container, with its image; exit 0."""
    answer = report(site.kmuctl("--json", "status"))
    assert answer["ok"] is True
    assert {line["container"]: line["state"] for line in answer["containers"]} == {
        container.name: "healthy" for container in site.stack.containers()
    }


def test_status_names_what_is_not_well(site: LabSite) -> None:
    """K86: exit 3, and the container with its state."""
    docker("stop", name_of("dozzle"))
    done = site.kmuctl("--json", "status")
    bad = [line for line in json.loads(done.stdout)["containers"] if not line["fine"]]
    docker("start", name_of("dozzle"))
    assert (done.returncode, [line["container"] for line in bad]) == (3, ["dozzle"])
    assert "exited" in bad[0]["state"]


def test_status_notices_what_does_not_belong_to_the_site(site: LabSite) -> None:
    """K112: a container that claims to be of the project is shown; `up` removes it."""
    docker(
        "run", "--detach", "--label", "com.docker.compose.project=kmu", "--label", "com.docker.compose.service=stray",
        "--label", "com.docker.compose.oneoff=False", "python:3.13-slim-trixie", "sleep", "600",
    )  # fmt: skip
    assert "stray" in site.kmuctl("status").stdout
    assert set(site.plan()) >= {"containers:orphans"}
    site.up()
    assert "stray" not in site.kmuctl("status").stdout


def test_logs_of_a_service_show_each_of_its_containers(site: LabSite) -> None:
    """D48: by service, by container, the last lines only."""
    logs = report(site.kmuctl("--json", "logs", "jitsi", "--lines", "3"))["logs"]
    assert set(logs) == {container.name for container in site.stack["jitsi"].containers}
    assert all(0 < len(text.splitlines()) <= 3 for text in logs.values())
    assert "jicofo" in site.kmuctl("logs", "jitsi-jicofo").stdout.lower()


def test_logs_of_something_unknown_name_what_there_is(site: LabSite) -> None:
    """K86."""
    done = site.kmuctl("logs", "nothing")
    assert done.returncode == 2
    assert "nothing" in done.stderr and "jitsi-jicofo" in done.stderr


def test_exec_hands_through_output_input_and_exit_code(site: LabSite) -> None:
    """K90, K118."""
    done = site.kmuctl("exec", "postgres", "--", "sh", "-c", "cat; echo loud >&2; exit 7", stdin="through\n")
    assert (done.returncode, done.stdout) == (7, "through\n")
    assert "loud" in done.stderr


def test_exec_in_something_unknown_is_refused(site: LabSite) -> None:
    """K90."""
    done = site.kmuctl("exec", "nothing", "--", "true")
    assert (done.returncode, "nothing" in done.stderr) == (2, True)


def test_nextcloud_is_managed_with_its_own_tool(site: LabSite) -> None:
    """K118: with its exit code; words that look like our own options are Nextcloud's."""
    done = site.kmuctl("occ", "status", "--output=json")
    assert json.loads(done.stdout)["installed"] is True, done.stderr
    assert site.kmuctl("occ", "config:app:get", "core", "nothing").returncode == 1


def test_the_journal_tells_what_was_done(site: LabSite) -> None:
    """K90: a line for the beginning and one for the end of each `up`."""
    site.up()
    lines = [json.loads(line) for line in (site.folder / "state/journal.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines[-2:]] == ["started", "ended"]
    assert lines[-1]["failed"] == 0
