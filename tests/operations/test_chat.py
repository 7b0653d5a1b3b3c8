"""K116: chat is found by whoever knows only the domain, and nothing is written to see it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmuctl.model.step import State
from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, bring, changed, empty, go_up, plan, running, states, steps

REACHABLE = "synapse:reachable"
CADDYFILE = f"{FOLDER}/rendered/caddy/Caddyfile"


def served_otherwise(host: FakeHost, old: str, new: str) -> None:
    """Caddy serves something else than the rendered file says, and nobody has mended that yet."""
    text = host.text(CADDYFILE)
    assert old in text
    host.engine._caddyfile = text.replace(old, new)


def seen(host: FakeHost) -> str:
    [step] = [step for step in steps(host) if step.name == REACHABLE]
    drift = step.check(host)
    return drift.cause if drift else ""


def test_a_client_finds_the_server_and_nothing_is_written() -> None:
    host = running()
    sent = list(host.http.sent)
    assert plan(host)[REACHABLE].state is State.OK
    assert changed(go_up(host)) == set()
    assert host.http.sent == sent


@pytest.mark.parametrize("mode", ["internal", "off"])
def test_with_other_certificates_and_without_any(mode: str) -> None:
    host = empty()
    assert go_up(host, tls={"mode": mode})[REACHABLE].state is State.OK


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (
            '"base_url": "https://matrix.acme.example"', '"base_url": "https://old.acme.example"',
            "https://acme.example/.well-known/matrix/client says "
            "{'base_url': 'https://old.acme.example'} instead of {'base_url': 'https://matrix.acme.example'}",
        ),
        (
            "matrix.acme.example:443", "matrix.acme.example:8448",
            "https://acme.example/.well-known/matrix/server says matrix.acme.example:8448 "
            "instead of matrix.acme.example:443",
        ),
        (
            "matrix.acme.example {", "chat.acme.example {",
            "https://matrix.acme.example/_matrix/client/versions cannot be opened: curl ends with 7",
        ),
        (
            'respond `{"m.server"', 'respond `<html>{"m.server"',
            'https://acme.example/.well-known/matrix/server says `<html>{"m.server": "matrix.acme.example:443"}`',
        ),
    ],
)  # fmt: skip
def test_what_a_client_would_stumble_over_is_named(old: str, new: str, cause: str) -> None:
    host = running()
    served_otherwise(host, old, new)
    assert seen(host).startswith(cause)


def test_up_says_where_to_look_when_the_server_does_not_answer() -> None:
    """Both are healthy for themselves, but the way between them is broken."""
    host = running()
    served_otherwise(host, "matrix.acme.example {", "chat.acme.example {")
    [step] = [step for step in steps(host) if step.name == REACHABLE]
    outcome = bring([replace(step, after=(), deadline=0)], host)[REACHABLE]
    assert outcome.state is State.FAILED
    assert outcome.hint == "`kmuctl logs caddy` and `kmuctl logs synapse` show more; then run `kmuctl up` again"


def test_no_certificate_yet_is_told_elsewhere() -> None:
    """DNS may take days; `certs:issued` and the warnings of `up` are about that."""
    host = running()
    host.engine.certifies = False
    assert seen(host) == ""


@pytest.mark.parametrize(("container", "product"), [("caddy", "Caddy"), ("synapse", "Synapse")])
def test_before_they_run_nothing_can_be_seen(container: str, product: str) -> None:
    host = running()
    host.engine.stop("kmu", container)
    assert plan(host)[REACHABLE].cause == f"can be seen when {product} runs"


def test_without_chat_nobody_asks() -> None:
    host = empty()
    outcomes = go_up(host, apps={"synapse": False, "element": False})
    assert not states(outcomes, State.FAILED)
    assert REACHABLE not in outcomes
