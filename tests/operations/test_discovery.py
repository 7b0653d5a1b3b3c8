"""K115: an application whose sign-on cannot be found from inside is named, before people see an error page."""

from __future__ import annotations

import pytest

from kmuctl.model.host import Answer
from kmuctl.model.step import State
from tests.operations.scenes import changed, empty, go_up, plan, running

ADDRESS = "https://auth.acme.example/application/o/nextcloud/.well-known/openid-configuration"
INTERNAL = {"mode": "internal"}


def test_both_applications_find_their_sign_on() -> None:
    host = running()
    assert {plan(host)[f"sign-on:{name}"].state for name in ("nextcloud", "synapse")} == {State.OK}
    assert plan(host)["sign-on:nextcloud"].warning == ""


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (
            Answer(6, "", "curl: (6) Could not resolve host"),
            "cannot be opened from inside: curl: (6) Could not resolve",
        ),
        (Answer(35, "", "curl: (35) alert"), "curl: (35) alert (there may be no certificate for it yet)"),
        (Answer(0, "<html>not found"), "says <html>not found"),
        (Answer(0, '["issuer"]'), 'says ["issuer"]'),
        (
            Answer(0, '{"issuer": "http://localhost/"}'),
            "names http://localhost/ as who signs in, instead of https://auth",
        ),
    ],
)
def test_one_that_is_not_found_is_named(answer: Answer, cause: str) -> None:
    """Where the certificates are our own, everything is in our hands: then it is a failure, elsewhere a warning."""
    host = empty()
    assert changed(go_up(host, tls=INTERNAL))
    host.engine.fetched = answer
    outcome = go_up(host, patient=False, tls=INTERNAL)["sign-on:nextcloud"]
    assert outcome.state is State.FAILED
    assert outcome.cause.startswith(f"nobody can sign in to Nextcloud: {ADDRESS} ")
    assert cause in outcome.cause
    assert f"kmuctl exec nextcloud -- curl -sS {ADDRESS}" in outcome.hint


def test_with_public_certificates_it_is_a_warning() -> None:
    host = running()
    host.engine.fetched = Answer(35, "", "curl: (35) alert")
    outcome = go_up(host)["sign-on:synapse"]
    assert outcome.state is State.OK
    assert outcome.warning.startswith("nobody can sign in to Synapse: https://auth.acme.example/application/o/synapse/")


def test_while_one_of_them_is_down_nothing_is_said() -> None:
    host = running()
    host.engine.stop("kmu", "nextcloud")
    assert plan(host)["sign-on:nextcloud"].state is State.BLOCKED
