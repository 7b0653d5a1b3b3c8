"""The accounts of Jitsi's own parts: a new password reaches Prosody before they sign in with it."""

from __future__ import annotations

import pytest

from kmuctl.model.step import State
from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, changed, go_up, plan, running

NAMES = {"focus": "JITSI_JICOFO_PASSWORD", "jvb": "JITSI_JVB_PASSWORD"}


def new_password(host: FakeHost, variable: str, password: str) -> None:
    path = f"{FOLDER}/secrets.env"
    old = next(line for line in host.text(path).splitlines() if line.startswith(f"{variable}="))
    host.write(path, host.text(path).replace(old, f"{variable}={password}").encode(), mode=0o600)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_password_reaches_prosody_and_the_part_that_uses_it(name: str) -> None:
    """K42, K108: upstream's image would leave the old one in place, and the part outside for good."""
    host = running()
    new_password(host, NAMES[name], "another-password")
    assert plan(host)["jitsi:accounts"].cause == f"the password of {name} differs from the secrets file"
    outcomes = go_up(host)
    assert not [step for step, outcome in outcomes.items() if outcome.state is State.FAILED]
    assert host.http.prosody.accepts(name, "another-password")
    assert changed(go_up(host)) == set()


def test_an_old_account_from_a_backup_is_put_right() -> None:
    host = running()
    host.http.prosody.register("jvb", "from-last-year")
    assert changed(go_up(host)) == {"jitsi:accounts"}
    assert not host.http.prosody.accepts("jvb", "from-last-year")


def test_what_else_prosody_keeps_of_an_account_stays() -> None:
    host = running()
    host.http.prosody.register("focus", "from-last-year")
    go_up(host)
    path = host.http.prosody.path("focus")
    assert '["created"] = 1795255746;' in host.text(path)
    assert (host.facts([path])[path].mode, host.facts([path])[path].uid) == (0o640, 1000)


@pytest.mark.parametrize("text", ["", "return {\n};\n", 'return {\n\t["stored_key"] = "00";\n};\n'])
def test_an_account_that_cannot_be_read_is_named(text: str) -> None:
    host = running()
    path = host.http.prosody.path("focus")
    host.write(path, text.encode() or b"\n", uid=1000)
    outcome = go_up(host)["jitsi:accounts"]
    assert outcome.state is State.FAILED
    assert outcome.cause.startswith(f"`{path}` is not an account as Prosody keeps it")
    assert "delete it" in outcome.hint


def test_a_known_account_of_the_real_prosody() -> None:
    """K42: as `prosodyctl passwd` of 13.0.1 wrote it."""
    host = running()
    new_password(host, NAMES["focus"], "newsecret1")
    host.write(host.http.prosody.path("focus"), WRITTEN, mode=0o640, uid=1000)
    assert plan(host)["jitsi:accounts"].state is State.OK
    new_password(host, NAMES["focus"], "newsecret2")
    assert plan(host)["jitsi:accounts"].state is State.CHANGE


WRITTEN = b"""return {
	["salt"] = "a00e4119-bbb6-427a-8e71-2b097976afc1";
	["server_key"] = "3af1da2be716ada8d063c60ef33514184848c9cb";
	["stored_key"] = "ef5c1184bbfba8404b2458833148aae729de8833";
	["updated"] = 1795255751;
	["iteration_count"] = 10000;
	["created"] = 1795255746;
};
"""
