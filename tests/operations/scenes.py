"""Scenes that many tests start from. Steps are pure values, so the same site and secrets share them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from kmuctl.model.host import Host
from kmuctl.model.secrets import Secret
from kmuctl.model.stack import Stack
from kmuctl.model.step import Outcome, State, Step, Working
from kmuctl.operations.plan import converge, survey
from kmuctl.operations.render import Rendered, render
from kmuctl.operations.up import for_one, up
from kmuctl.operations.vault import Vault, open_vault
from tests.fakes import FakeHost, Machine
from tests.support import CORE, stack

FOLDER = "/opt/kmu"
_known: dict[tuple[str, str], tuple[Step, ...]] = {}


def steps(host: FakeHost, /, **changes: Any) -> tuple[Step, ...]:
    """The steps of `up` for the core site with some keys replaced, on this host.

    Rendering is most of the time, so hosts without secrets all get the same new ones.
    """
    wanted = stack(**changes)
    vault = open_vault(wanted, host)
    key = json.dumps(changes, sort_keys=True), _values(vault)
    if key not in _known:
        _known[key] = tuple(up(wanted, vault, (CORE + f"# {json.dumps(changes)}").encode()))
    return _known[key]


_trees: dict[tuple[str, ...], Rendered] = {}


def quick_render(stack: Stack, secrets: Mapping[str, Secret]) -> Rendered:
    """`render`, once for each site and its secrets: it is pure."""
    key = (stack.site.model_dump_json(), *(f"{name}={value.reveal()}" for name, value in secrets.items()))
    if key not in _trees:
        _trees[key] = render(stack, secrets)
    return _trees[key]


def forget() -> None:
    """From here on new secrets are other ones."""
    _known.clear()


def _values(vault: Vault) -> str:
    if len(vault.fresh) == len(vault.values):
        return "all new"
    values = {name: value.reveal() for name, value in vault.values.items()}
    return json.dumps([values, sorted(vault.fresh), vault.text])


def bring(steps_: Iterable[Step], host: Host) -> dict[str, Outcome]:
    return {event.step.name: event for event in converge(steps_, host) if not isinstance(event, Working)}


def go_up(host: FakeHost, /, *, patient: bool = True, **changes: Any) -> dict[str, Outcome]:
    """With `patient=False` no step is waited for."""
    known = steps(host, **changes)
    return bring(known if patient else [replace(step, deadline=0) for step in known], host)


def go_up_only(host: FakeHost, service: str) -> dict[str, Outcome]:
    return bring(for_one(stack()[service], steps(host)), host)


def plan(host: FakeHost, /, **changes: Any) -> dict[str, Outcome]:
    return {outcome.step.name: outcome for outcome in survey(steps(host, **changes), host)}


def changed(outcomes: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in outcomes.items() if outcome.state is not State.OK}


def states(outcomes: dict[str, Outcome], state: State) -> set[str]:
    return {name for name, outcome in outcomes.items() if outcome.state is state}


@cache
def _running() -> FakeHost:
    host = Machine().host()
    assert not states(go_up(host), State.FAILED)
    return host


def empty() -> FakeHost:
    return Machine().host()


def running() -> FakeHost:
    """A host on which the core site is up."""
    return _running().clone()
