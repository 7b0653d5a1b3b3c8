"""`kmuctl secrets`: names for everybody's eyes, values for nobody's."""

from __future__ import annotations

import json

import pytest

from tests.cli.runner import as_json, kmuctl, site_file
from tests.fakes import FakeHost
from tests.support import stack

FOLDER = "/opt/kmu"
PATH = f"{FOLDER}/secrets.env"


@pytest.fixture
def up(host: FakeHost) -> FakeHost:
    site_file()
    kmuctl("up")
    return host


def values(host: FakeHost) -> dict[str, str]:
    lines = [line for line in host.text(PATH).splitlines() if line and not line.startswith("#")]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_the_list_names_every_secret_with_its_readers_and_no_value(up: FakeHost) -> None:
    text = kmuctl("secrets", "list").stdout
    assert [name for name, value in values(up).items() if value in text and name != "SYNAPSE_RETIRED_KEYS"] == []
    known = as_json(kmuctl("secrets", "list", "--json"))["secrets"]
    assert {item["name"] for item in known} == {spec.name for spec in stack().secrets()}
    [turn] = [item for item in known if item["name"] == "turn_secret"]
    assert turn == {"name": "turn_secret", "read_by": ["synapse", "jitsi", "coturn"], "state": ""}


def test_before_the_first_up_none_is_made(host: FakeHost) -> None:
    site_file()
    assert {item["state"] for item in as_json(kmuctl("secrets", "list", "--json"))["secrets"]} == {"not made yet"}
    assert "TURN_SECRET is not made yet" in kmuctl("secrets", "rotate", "TURN_SECRET", code=2).stderr


def test_several_are_rotated_at_once(up: FakeHost) -> None:
    old = values(up)
    kmuctl("secrets", "rotate", "TURN_SECRET", "postgres_password")
    new = values(up)
    assert {name for name in old if new[name] != old[name]} == {"TURN_SECRET", "POSTGRES_PASSWORD"}
    assert new.keys() == old.keys()
    assert up.cluster.superuser == new["POSTGRES_PASSWORD"]
    assert "nothing changed" in kmuctl("up").stdout


def test_a_rotation_that_failed_says_how_to_go_on(up: FakeHost) -> None:
    """The list shows it, the same one again is refused, others go on, and the next `up` finishes all of them."""
    old = values(up)
    up.http.authentik.refuses["custom/10-base.yaml"] = "Entry invalid"
    kmuctl("secrets", "rotate", "AUTHENTIK_NOREPLY_PASSWORD", code=1)
    known = as_json(kmuctl("secrets", "list", "--json"))["secrets"]
    [state] = [item["state"] for item in known if item["name"] == "authentik_noreply_password"]
    assert state == "rotation not finished: run `kmuctl up`"
    refused = kmuctl("secrets", "rotate", "TURN_SECRET", "AUTHENTIK_NOREPLY_PASSWORD", code=2).stderr
    assert "the rotation of AUTHENTIK_NOREPLY_PASSWORD is not finished" in refused
    kmuctl("secrets", "rotate", "POSTGRES_PASSWORD", code=1)
    unfinished = {"AUTHENTIK_NOREPLY_PASSWORD", "POSTGRES_PASSWORD"}
    assert {name for name in values(up) if name.endswith("_PREVIOUS")} == {f"{name}_PREVIOUS" for name in unfinished}
    up.http.authentik.refuses.clear()
    kmuctl("up")
    assert {name for name, value in values(up).items() if old.get(name) != value} == unfinished
    assert up.cluster.superuser == values(up)["POSTGRES_PASSWORD"]


def test_the_journal_says_what_was_typed(up: FakeHost) -> None:
    kmuctl("secrets", "rotate", "TURN_SECRET")
    journal = [json.loads(line) for line in up.text(f"{FOLDER}/state/journal.jsonl").splitlines()]
    assert [entry["command"] for entry in journal] == ["up", "up", "secrets rotate", "secrets rotate"]


def test_an_unknown_name_is_refused_before_anything_is_written(up: FakeHost) -> None:
    before = up.text(PATH)
    done = kmuctl("secrets", "rotate", "TURN_SECRET", "NONSENSE", code=2)
    assert "no secret `NONSENSE` in this site" in done.stderr
    assert up.text(PATH) == before
