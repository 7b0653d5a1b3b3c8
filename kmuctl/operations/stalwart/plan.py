"""The rendered plan of Stalwart's settings: how it differs from the registry, and the requests that make it hold.

`stalwart-cli apply` takes the same file, but writes every object each time (upstream/stalwart.md 2). This reads first,
so "nothing changed" is true, and a change says what it is about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.operations.stalwart.registry import SINGLETON, Registry, Row

MANY = frozenset({"Account"})
"""Types of which a company has more than one request may read: looked up by name."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the plan; its keys are explained in upstream/stalwart.md 2, "Plan grammar"."""

    kind: str
    object: str
    value: Mapping[str, Any]
    match: tuple[str, ...] = ()
    scope: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One request; `reference` is what later objects call the created one."""

    object: str
    why: str
    arguments: Row
    reference: str = ""


def read_plan(text: str) -> tuple[Operation, ...]:
    lines = [json.loads(line) for line in text.splitlines()]
    return tuple(
        Operation(
            line["@type"], line["object"], line["value"], tuple(line.get("matchOn", ())), line.get("scope", {})
        )
        for line in lines
    )  # fmt: skip


def differences(plan: Iterable[Operation], registry: Registry, host: Reader) -> list[Change]:
    """What the registry lacks, in the order of the plan; an object refers to one that does not exist yet by `#name`."""
    wishes = [operation for operation in plan if operation.kind != "create"]
    known = registry.all(host, {one.object: _ids(one) for one in wishes if one.object not in MANY})
    ids: dict[str, str] = {}
    found: list[Change] = []
    for operation in wishes:
        rows = known.get(operation.object)
        found += compare(operation, _rows(operation, registry, host) if rows is None else rows, ids)
    return found


def fulfil(plan: Iterable[Operation], registry: Registry, host: Host) -> set[str]:
    """Make the plan hold; the types of which something changed. What it no longer names goes last."""
    ids: dict[str, str] = {}
    removals: list[Change] = []
    touched: set[str] = set()
    for operation in plan:
        if operation.kind == "create":
            continue
        for change in compare(operation, _rows(operation, registry, host), ids):
            touched.add(change.object)
            if "destroy" in change.arguments:
                removals.append(change)
                continue
            answer = _make(change, registry, host)
            if change.reference:
                ids[f"#{change.reference}"] = answer["created"][change.reference]["id"]
    for change in reversed(removals):
        _make(change, registry, host)
    return touched


def _make(change: Change, registry: Registry, host: Host) -> Row:
    """What Stalwart answers; when it refuses, the object's name comes first: Stalwart knows it by an id."""
    try:
        return registry.change(host, change.object, **change.arguments)
    except StepFailed as error:
        raise StepFailed(f"{change.why}: {error.message}", hint=error.hint) from None


def compare(operation: Operation, rows: list[Row], ids: dict[str, str]) -> Iterator[Change]:
    """The changes of one operation; `ids` learns under which id the objects that it names are known."""
    if operation.kind == "update":
        single = rows[0] if rows else {"id": SINGLETON[0]}
        yield from _patch(operation.object, "", single, resolved(operation.value, ids))
        return
    rows = [row for row in rows if holds(operation.scope, {key: row.get(key) for key in operation.scope})]
    for reference, body in operation.value.items():
        wanted = resolved(body, ids)
        row = next((row for row in rows if all(row.get(key) == wanted[key] for key in operation.match)), None)
        name = _label(body, operation.match)
        if row is None:
            yield Change(
                operation.object, f"{operation.object} {name} to make", {"create": {reference: wanted}}, reference
            )
        else:
            ids[f"#{reference}"] = row["id"]
            rows.remove(row)
            yield from _patch(operation.object, name, row, wanted)
    if operation.kind == "reconcile":
        for row in rows:
            name = _label(row, operation.match)
            yield Change(operation.object, f"{operation.object} {name} to remove", {"destroy": [row["id"]]})


def _label(body: Mapping[str, Any], match: Iterable[str]) -> str:
    """What a person may know it by."""
    return next((body[key] for key in (*match, "@type") if isinstance(body.get(key), str)), "?")


def _patch(name: str, which: str, row: Row, wanted: Row) -> Iterator[Change]:
    """Only what differs: Stalwart refuses a property that may not change, even when it stays what it is."""
    patch = {key: value for key, value in wanted.items() if not holds(value, row.get(key))}
    if patch:
        title = f"{name} {which}".rstrip()
        yield Change(name, f"{title} differs in {', '.join(sorted(patch))}", {"update": {row["id"]: patch}})


def holds(wanted: Any, present: Any) -> bool:
    """Whether a value is as wanted: of an object with a type what we name, all else as a whole; null is nothing."""
    if not isinstance(wanted, Mapping):
        return bool(wanted == present)
    if not isinstance(present, Mapping):
        return not wanted and present is None
    named = {key: value for key, value in wanted.items() if value is not None}
    if "@type" not in wanted and named.keys() != {key for key, value in present.items() if value is not None}:
        return False
    return all(holds(value, present.get(key)) for key, value in wanted.items())


def resolved(value: Any, ids: Mapping[str, str]) -> Any:
    """The value with each known reference, as a value or as a key, replaced by the object's id."""
    if isinstance(value, Mapping):
        return {ids.get(key, key): resolved(item, ids) for key, item in value.items()}
    return ids.get(value, value) if isinstance(value, str) else value


def _rows(operation: Operation, registry: Registry, host: Reader) -> list[Row]:
    if operation.object not in MANY:
        return registry.rows(host, operation.object, ids=_ids(operation))
    names = {body["name"] for body in operation.value.values()}
    return [row for name in sorted(names) for row in registry.find(host, operation.object, {"name": name})]


def _ids(operation: Operation) -> list[str] | None:
    return SINGLETON if operation.kind == "update" else None
