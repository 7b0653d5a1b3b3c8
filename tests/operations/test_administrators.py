"""Who administers mail, when the first admin has no mailbox here: told until somebody does."""

from __future__ import annotations

from typing import Any

import pytest

from kmuctl.model.step import State
from kmuctl.operations.stalwart.administrators import ADVICE
from tests.fakes import FakeHost
from tests.operations.scenes import changed, empty, go_up, plan, running

STEP = "stalwart:administrators"
ELSEWHERE: dict[str, Any] = {"admin": {"username": "mm", "name": "Max", "email": "max@example.org"}}


@pytest.fixture
def host() -> FakeHost:
    made = empty()
    assert go_up(made, **ELSEWHERE)[STEP].state is State.OK
    return made


def with_role(host: FakeHost, role: str) -> None:
    [domain] = host.http.stalwart.rows("Domain")
    body = {"@type": "User", "name": "anna", "domainId": domain, "roles": {"@type": role}}
    host.http.stalwart.change("Account", create=[body])


def test_up_says_that_nobody_administers_mail_and_what_to_type(host: FakeHost) -> None:
    """A warning of each run, and no failure."""
    warning = f"nobody administers mail, because max@example.org is no address of acme.example: {ADVICE}"
    sent = list(host.http.sent)
    assert go_up(host, **ELSEWHERE)[STEP].warning == plan(host, **ELSEWHERE)[STEP].warning == warning
    assert changed(plan(host, **ELSEWHERE)) == set()
    assert host.http.sent == sent
    assert "kmuctl stalwart-cli update Account ID" in warning


def test_everybodys_rights_are_not_enough(host: FakeHost) -> None:
    with_role(host, "User")
    assert plan(host, **ELSEWHERE)[STEP].warning


def test_it_is_silent_once_somebody_does(host: FakeHost) -> None:
    with_role(host, "Admin")
    assert plan(host, **ELSEWHERE)[STEP].warning == ""


def test_what_is_advised_is_kept(host: FakeHost) -> None:
    """The plan names other accounts: a role that an admin gave away stays."""
    with_role(host, "Admin")
    assert changed(go_up(host, **ELSEWHERE)) == set()
    roles = {row["name"]: row["roles"]["@type"] for row in host.http.stalwart.rows("Account").values()}
    assert roles["anna"] == "Admin"


def test_an_admin_of_the_domain_is_seen_to_by_the_plan() -> None:
    assert STEP not in plan(running())


def test_before_mail_runs_nothing_can_be_seen(host: FakeHost) -> None:
    host.engine.stop("kmu", "stalwart")
    assert plan(host, **ELSEWHERE)[STEP].cause == "can be seen when Stalwart runs"
