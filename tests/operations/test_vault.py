"""Secrets of a host: made once, kept closed, never made twice where data depends on them."""

from __future__ import annotations

from typing import Any

import pytest

from kmuctl.model.errors import ConfigError
from kmuctl.model.step import State
from kmuctl.operations.plan import survey
from kmuctl.operations.vault import Vault, open_vault, secrets_step
from tests.fakes import FakeHost
from tests.operations.scenes import bring, changed
from tests.support import stack

PATH = "/opt/kmu/secrets.env"
RELAY: dict[str, Any] = {"mail": {"relay": {"host": "smtp.provider.example", "username": "acme"}}}


def kept(host: FakeHost, **changes: Any) -> Vault:
    vault = open_vault(stack(**changes), host)
    bring([secrets_step(vault)], host)
    return vault


def with_secrets(text: str, *, without: str = "") -> FakeHost:
    """A host whose complete secrets file lost one line and got this text at its end."""
    host = FakeHost()
    kept(host)
    lines = [line for line in host.text(PATH).splitlines() if not (without and line.startswith(f"{without}="))]
    host.write(PATH, "\n".join([*lines, text, ""]).encode(), mode=0o600)
    return host


def test_opening_writes_nothing() -> None:
    host = FakeHost()
    open_vault(stack(), host)
    assert host.tree("/") == []


def test_every_secret_of_the_stack_is_made_and_written_for_root_alone() -> None:
    """K31 K104 K106 K107 D33 U28: 0600, one line each."""
    host = FakeHost()
    vault = kept(host)
    node = host.nodes[PATH]
    assert (node.mode, node.uid) == (0o600, 0)
    assert set(vault.values) == {spec.name for spec in stack().secrets()}
    again = open_vault(stack(), host)
    assert again.fresh == {}
    assert again.values == vault.values


def test_a_second_run_keeps_every_value() -> None:
    """K31: existing values are never overwritten."""
    host = FakeHost()
    kept(host)
    before = host.text(PATH)
    assert changed(bring([secrets_step(open_vault(stack(), host))], host)) == set()
    assert host.text(PATH) == before


def test_values_are_all_different() -> None:
    """K103 U29: no two services share a password by accident, and none is a default."""
    values = [secret.reveal() for secret in open_vault(stack(), FakeHost()).values.values()]
    assert len(set(values)) == len(values)
    assert not any(word in value.lower() for value in values for word in ("changeme", "password", "secret:"))


def test_a_missing_value_is_made_and_the_rest_stays() -> None:
    host = with_secrets("# a note of the admin", without="TURN_SECRET")
    before = host.text(PATH)
    vault = open_vault(stack(), host)
    assert list(vault.fresh) == ["turn_secret"]
    outcome = bring([secrets_step(vault)], host)["secrets"]
    assert outcome.cause == "new: turn_secret"
    assert host.text(PATH).startswith(before)
    assert host.text(PATH).count("TURN_SECRET=") == 1


def test_a_new_app_gets_its_secrets() -> None:
    host = FakeHost()
    kept(host, apps={"jitsi": False})
    vault = kept(host)
    assert set(vault.fresh) == {"jitsi_jicofo_password", "jitsi_jvb_password", "jitsi_jwt_secret"}


@pytest.mark.parametrize(("mode", "uid"), [(0o644, 0), (0o600, 1000)])
def test_a_file_that_others_can_read_is_closed(mode: int, uid: int) -> None:
    host = FakeHost()
    kept(host)
    host.write(PATH, host.text(PATH).encode(), mode=mode, uid=uid)
    outcome = bring([secrets_step(open_vault(stack(), host))], host)["secrets"]
    assert outcome.cause == f"belongs to user {uid} with mode {mode:o}, not to root alone"
    assert (host.nodes[PATH].mode, host.nodes[PATH].uid) == (0o600, 0)


def test_a_file_in_another_encoding_is_refused() -> None:
    """U55: writing it back would damage the admin's own values."""
    host = FakeHost()
    host.write(PATH, "MAIL_RELAY_PASSWORD='schlüssel'\n".encode("latin-1"), mode=0o600)
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        open_vault(stack(**RELAY), host)


SEALED = {
    "POSTGRES_PASSWORD": "/opt/kmu/data/postgres/data",
    "AUTHENTIK_SECRET_KEY": "/opt/kmu/data/authentik/data",
    "AUTHENTIK_BOOTSTRAP_PASSWORD": "/opt/kmu/data/authentik/data",
    "AUTHENTIK_BOOTSTRAP_TOKEN": "/opt/kmu/data/authentik/certs",
    "SYNAPSE_SIGNING_KEY": "/opt/kmu/data/synapse/media",
}


@pytest.mark.parametrize(("name", "folder"), SEALED.items(), ids=SEALED)
def test_a_secret_that_data_depends_on_is_never_made_twice(name: str, folder: str) -> None:
    """The database would be locked, or the server's identity lost: refuse, and say what to do."""
    host = with_secrets("", without=name)
    host.make_folder(folder, mode=0o700, uid=999)
    with pytest.raises(ConfigError) as caught:
        open_vault(stack(), host)
    assert caught.value.message == f"`{PATH}` has no {name}, but its data exists: `{folder}`"
    assert caught.value.hint == (
        "that data was made with the old value: put the old secrets file back from your backup"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", SEALED)
def test_without_data_it_is_made(name: str) -> None:
    assert list(open_vault(stack(), with_secrets("", without=name)).fresh) == [name.lower()]


def test_a_secret_that_only_the_admin_knows_is_asked_for() -> None:
    """L20's password: nobody can make it up."""
    host = FakeHost()
    kept(host)
    with pytest.raises(ConfigError) as caught:
        open_vault(stack(**RELAY), host)
    assert caught.value.message == (
        f"`{PATH}` is not complete:\n  MAIL_RELAY_PASSWORD: is missing, and only you know it"
    )
    assert caught.value.hint == "add a line like `MAIL_RELAY_PASSWORD='...'`, or `MAIL_RELAY_PASSWORD_FILE=/path`"


@pytest.mark.parametrize("line", ["MAIL_RELAY_PASSWORD='s3 c#ret$x'", "MAIL_RELAY_PASSWORD_FILE=/run/relay"])
def test_it_may_stand_in_the_file_or_in_a_file_of_its_own(line: str) -> None:
    """U58."""
    host = with_secrets(line)
    host.write("/run/relay", b"s3 c#ret$x\n")
    assert open_vault(stack(**RELAY), host).values["mail_relay_password"].reveal() == "s3 c#ret$x"


BY_HAND = {
    "empty": ("TURN_SECRET=", "TURN_SECRET", r"TURN_SECRET: has no value \(line \d+\)"),
    "twice": ("TURN_SECRET=b", "", r"TURN_SECRET: stands twice \(again in line \d+\)"),
    "no line at all": ("TURN SECRET is x", "TURN_SECRET", r"line \d+: not a `NAME=value` line"),
    "unknown reference": ("TURN_SECRET={{NOBODY}}", "TURN_SECRET", "TURN_SECRET: refers to NOBODY, which does not"),
    "refers to itself": ("TURN_SECRET=a{{TURN_SECRET}}", "TURN_SECRET", "refers to itself: TURN_SECRET -> TURN_SECRET"),
    "a cycle": ("TURN_SECRET={{OTHER}}\nOTHER={{TURN_SECRET}}", "TURN_SECRET", "TURN_SECRET -> OTHER -> TURN_SECRET"),
    "file is missing": ("TURN_SECRET_FILE=/nowhere", "TURN_SECRET", "TURN_SECRET_FILE: `/nowhere` is missing"),
    "file is empty": ("TURN_SECRET_FILE=/empty", "TURN_SECRET", "TURN_SECRET_FILE: `/empty` is empty"),
    "value and file": ("TURN_SECRET_FILE=/full", "", "TURN_SECRET: given both as a value and as TURN_SECRET_FILE"),
}


@pytest.mark.parametrize(("text", "without", "message"), BY_HAND.values(), ids=BY_HAND)
def test_a_file_edited_by_hand(text: str, without: str, message: str) -> None:
    """U55 U58: one message, nothing written."""
    host = with_secrets(text, without=without)
    host.write("/empty", b"\n")
    host.write("/full", b"x")
    before = host.snapshot()
    with pytest.raises(ConfigError, match=message) as caught:
        open_vault(stack(), host)
    assert caught.value.message.startswith(f"`{PATH}` is not a valid secrets file:\n  ")
    assert caught.value.hint.startswith("mend the file by hand")
    assert host.snapshot() == before


def test_all_faults_of_a_file_come_at_once() -> None:
    host = with_secrets("A=\nB={{C}}\nTURN_SECRET=twice")
    with pytest.raises(ConfigError) as caught:
        open_vault(stack(), host)
    assert len(caught.value.message.splitlines()) == 4


def test_no_message_shows_a_value() -> None:
    host = with_secrets("TURN_SECRET=do-not-show-me\nX={{Y}}\nbroken do-not-show-me")
    with pytest.raises(ConfigError) as caught:
        open_vault(stack(), host)
    assert "do-not-show-me" not in f"{caught.value.message}{caught.value.hint}{caught.value!r}"


def test_a_value_may_refer_to_another() -> None:
    """U55 U56."""
    host = with_secrets("BASE=xyz\nTURN_SECRET=a-{{ BASE }}-{{base}}", without="TURN_SECRET")
    assert open_vault(stack(), host).values["turn_secret"].reveal() == "a-xyz-xyz"


@pytest.mark.parametrize(
    "value", ["short", "with blanks in it", "a$HOME-long-enough", "ümläute-lang-genug", "'quoted value'"]
)
def test_a_hand_made_value_must_fit_every_format(value: str) -> None:
    """It goes unquoted into environment files, which would change `$` and `#` silently."""
    host = with_secrets(f"TURN_SECRET='{value.strip(chr(39))}'", without="TURN_SECRET")
    with pytest.raises(ConfigError, match="TURN_SECRET: has characters other than"):
        open_vault(stack(), host)


def test_the_plan_counts_what_it_would_make() -> None:
    host = FakeHost()
    vault = open_vault(stack(), host)
    (outcome,) = survey([secrets_step(vault)], host)
    assert (outcome.state, outcome.cause) == (State.CHANGE, f"{len(vault.fresh)} secrets to make")
    assert "secrets.env" not in str(host.nodes)
