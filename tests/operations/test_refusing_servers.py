"""Servers that run, but refuse, have no time or talk nonsense: each step says so, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kmuctl.model.host import Answer, Call, Reply
from kmuctl.model.step import Outcome, State
from kmuctl.operations.authentik import blueprints
from tests.fakes import FakeHost
from tests.operations.scenes import bring, changed, go_up, plan, running, states, steps

ASKING = {
    "Stalwart": {"stalwart:setup", "stalwart:settings", "stalwart:directory", "certs:mail:served"},
    "Synapse": {"synapse:admin"},
    "Nextcloud": {"nextcloud:ready", "nextcloud:break-glass", "nextcloud:apps", "nextcloud:settings"},
    "Authentik": {
        "authentik:defaults", "blueprint:10-base", "blueprint:20-logins", "blueprint:30-ldap", "authentik:settings",
        "authentik:outposts",
    },
}  # fmt: skip
"""Which steps talk to which product over HTTP."""
FIRST = {
    "Stalwart": {"stalwart:setup"}, "Synapse": {"synapse:admin", "synapse:reachable"},
    "Nextcloud": {"nextcloud:ready"}, "Authentik": {"authentik:defaults"},
}  # fmt: skip
REFUSALS = [(429, "Too Many Requests"), (500, "<h1>Server Error</h1>"), (503, "")]
NONSENSE = ["<html>Welcome</html>", "{", ""]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blueprints, "PAUSE", 0)


def answering(product: str, status: int, text: str) -> FakeHost:
    """A host on which all is well, but one product answers every request with this."""
    host = running()
    getattr(host.http, product.lower()).answer = lambda call: Reply(status, text)
    return host


def one_by_one(host: FakeHost, names: set[str]) -> dict[str, Outcome]:
    """These steps, none of which waits for another."""
    alone = [replace(step, after=(), deadline=0) for step in steps(host) if step.name in names]
    assert {step.name for step in alone} == names
    return bring(alone, host)


@pytest.mark.parametrize(("status", "text"), REFUSALS)
@pytest.mark.parametrize("product", ASKING)
def test_a_refusal_fails_each_step_that_asks_with_product_and_status(product: str, status: int, text: str) -> None:
    """No step takes it for an answer, and none for the end of the world."""
    outcomes = one_by_one(answering(product, status, text), ASKING[product])
    assert states(outcomes, State.FAILED) == ASKING[product]
    for outcome in outcomes.values():
        assert product in outcome.cause
        assert f"answers {status}: {text}" in outcome.cause


@pytest.mark.parametrize("text", NONSENSE)
@pytest.mark.parametrize("product", ["Stalwart", "Synapse", "Nextcloud"])
def test_nonsense_is_shown_and_who_said_it(product: str, text: str) -> None:
    """Something else listens there, or it is just starting: with status 200 all the same."""
    host = answering(product, 200, text)
    outcomes = one_by_one(host, ASKING[product] - {"stalwart:setup", "stalwart:directory"})  # these take no answer
    assert states(outcomes, State.FAILED) == outcomes.keys()
    said = f"`{product.lower()}` answers 200 with something unexpected: {text or 'nothing'}"
    assert {(outcome.cause, outcome.hint) for outcome in outcomes.values()} == {
        (said, f"`kmuctl logs {product.lower()}`")
    }


@pytest.mark.parametrize("text", [*NONSENSE, "{}"])
def test_nonsense_of_authentik_is_shown(text: str) -> None:
    outcomes = one_by_one(answering("Authentik", 200, text), ASKING["Authentik"])
    assert {outcome.cause for outcome in outcomes.values()} == {
        f"`authentik-server` answers 200 with something unexpected: {text or 'nothing'}"
    }


@pytest.mark.parametrize("product", ASKING)
def test_whatever_does_not_need_it_goes_on(product: str) -> None:
    """One product in trouble is one failure; nobody is restarted, and a plan says the same."""
    host = answering(product, 500, "Server Error")
    before = host.snapshot()
    outcomes = go_up(host, patient=False)
    assert states(outcomes, State.FAILED) == FIRST[product]
    others = {name for other, names in ASKING.items() if other != product for name in names}
    needing = {"nextcloud:settings", "stalwart:directory", "certs:mail:served"} if product == "Authentik" else set()
    assert others & changed(outcomes) == needing & others
    assert host.snapshot() == before
    assert FIRST[product] <= changed(plan(host))


def refuse_changes(host: FakeHost, container: str, reply: Reply) -> None:
    """It may be asked, but not changed."""
    send = host.http.send

    def refusing(call: Call) -> Reply:
        return replace(reply, container=container) if call.container == container else send(call)

    host.http.send = refusing  # type: ignore[method-assign]


def spoil_stalwart(host: FakeHost) -> None:
    [domain] = host.http.stalwart.rows("Domain")
    host.http.stalwart.change("Domain", update={domain: {"description": "By hand"}})


def spoil_synapse(host: FakeHost) -> None:
    host.http.synapse.users.clear()


def spoil_authentik(host: FakeHost) -> None:
    host.http.authentik.applied.clear()


SPOILT: dict[str, tuple[str, str, Callable[[FakeHost], None]]] = {
    "Stalwart": ("stalwart", "stalwart:settings", spoil_stalwart),
    "Synapse": ("synapse", "synapse:admin", spoil_synapse),
    "Authentik": ("authentik-server", "blueprint:10-base", spoil_authentik),
}


@pytest.mark.parametrize(("status", "text"), [*REFUSALS, (400, "<html>Bad Request</html>"), (404, "")])
@pytest.mark.parametrize("product", SPOILT)
def test_a_change_that_is_refused_fails_with_product_and_status(product: str, status: int, text: str) -> None:
    """And the next `up`, when it takes changes again, makes it."""
    container, step, spoil = SPOILT[product]
    host = running()
    spoil(host)
    send = host.http.send
    refuse_changes(host, container, Reply(status, text))
    outcome = go_up(host, patient=False)[step]
    assert outcome.state is State.FAILED
    assert product in outcome.cause
    assert f"answers {status}: {text}" in outcome.cause
    host.http.send = send  # type: ignore[method-assign]
    assert go_up(host)[step].state is State.CHANGE
    assert changed(plan(host)) == set()


@pytest.mark.parametrize("product", ["Stalwart", "Synapse", "Authentik"])
def test_nonsense_in_answer_to_a_change_is_shown(product: str) -> None:
    container, step, spoil = SPOILT[product]
    host = running()
    spoil(host)
    refuse_changes(host, container, Reply(200, "<html>"))
    outcome = go_up(host, patient=False)[step]
    assert outcome.state is State.FAILED
    assert outcome.cause == f"`{container}` answers 200 with something unexpected: <html>"


def test_an_occ_that_fails_is_named_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """K56: Nextcloud is changed by commands, which say why not."""
    host = running()
    host.http.nextcloud.providers.clear()

    def failing(command: tuple[str, ...], stdin: bytes) -> Answer:
        return Answer(1, "An unhandled exception has been thrown:\nPDOException: database is locked\n")

    monkeypatch.setattr(host.http.nextcloud, "execute", failing)
    outcome = go_up(host)["nextcloud:settings"]
    assert outcome.state is State.FAILED
    assert outcome.cause == (
        "Nextcloud's `occ user_oidc:provider` failed (exit code 1): PDOException: database is locked"
    )


def test_a_service_that_goes_away_in_the_middle_of_a_step() -> None:
    """Between the look at it and the change: the next `up` starts it and goes on."""
    host = running()
    spoil_synapse(host)
    send = host.http.send

    def stopping(call: Call) -> Reply:
        host.engine.stop("kmu", call.container)
        return send(call)

    host.http.send = stopping  # type: ignore[method-assign]
    outcome = go_up(host, patient=False)["synapse:admin"]
    assert (outcome.state, outcome.cause) == (State.FAILED, "`synapse` does not answer")
    host.http.send = send  # type: ignore[method-assign]
    assert changed(go_up(host)) == {"container:synapse", "synapse:admin"}
    assert changed(plan(host)) == set()
