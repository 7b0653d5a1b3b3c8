"""Stalwart plans and config.json checked against the registry schema (method: upstream/stalwart.md 7 and 8).

Not covered: expression syntax, uniqueness, and everything that only the running server can know.
"""

from __future__ import annotations

import gzip
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SCHEMA = Path(__file__).parents[1] / "data" / "stalwart-schema-0.16.json.gz"
KEYS = {
    "upsert": {"value", "matchOn", "scope"},
    "reconcile": {"value", "matchOn", "scope"},
    "create": {"value"},
    "update": {"value", "id"},
    "destroy": {"value"},
}
MAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
Body = Mapping[str, Any]
References = Mapping[str, str]
"""Object name by client id, for every object that an earlier line of the plan makes."""


@cache
def schema() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    return content


def check_config(text: str) -> list[str]:
    """Findings in a config.json: one DataStore object."""
    return list(_body("x:DataStore", json.loads(text), {}))


def check_plan(text: str) -> list[str]:
    """Findings in an NDJSON plan, as `line N: what`."""
    found: list[str] = []
    references: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            found += [f"line {number}: {what}" for what in _line(line, references)]
    return found


def _line(line: str, references: dict[str, str]) -> list[str]:
    try:
        operation = json.loads(line)
    except json.JSONDecodeError as error:
        return [f"not JSON: {error}"]
    found = list(_operation(operation, references))
    if operation.get("@type") in {"upsert", "reconcile", "create"}:
        references |= dict.fromkeys(operation.get("value") or {}, f"x:{operation.get('object')}")
    return found


def _operation(operation: Body, references: References) -> Iterator[str]:
    kind, name = operation.get("@type"), f"x:{operation.get('object')}"
    known = schema()["objects"].get(name, {"type": "view"})
    if kind not in KEYS:
        yield f"unknown operation `{kind}`"
    elif known["type"] == "view":
        yield f"unknown object `{name}`"
    elif known.get("enterprise"):
        yield f"`{name}` is Enterprise only"
    else:
        yield from (f"unknown key `{key}`" for key in operation.keys() - KEYS[kind] - {"@type", "object"})
        yield from _applied(kind, name, known["type"] == "singleton", operation, references)


def _applied(kind: str, name: str, singleton: bool, operation: Body, references: References) -> Iterator[str]:
    if singleton and kind != "update":
        yield f"`{name}` is a singleton: only update"
    elif kind == "update":
        if singleton == ("id" in operation):
            yield "a singleton takes no id" if singleton else "update needs an id"
        yield from _patch(name, operation.get("value") or {}, references)
    elif kind != "destroy":
        yield from _rows(kind, name, operation, references)


def _rows(kind: str, name: str, operation: Body, references: References) -> Iterator[str]:
    """The bodies of upsert, reconcile and create, and how they find their rows."""
    rows, match, scope = operation.get("value"), operation.get("matchOn", []), operation.get("scope", {})
    if not isinstance(rows, dict) or (not rows and kind != "reconcile"):
        yield "value must be an object of bodies and not empty"
        return
    label = schema()["lists"].get(name, {}).get("labelProperty")
    if kind == "reconcile" and not match and not label:
        yield f"reconcile needs matchOn: `{name}` has no label"
    yield from (f"scope.{key}: unknown" for key in scope.keys() - _every_property(name) - {"@type"})
    for row, body in rows.items():
        if row in references:
            yield f"{row}: the id is taken"
        yield from (f"{row}: {what}" for what in _body(name, body, references))
        keys = [key for key in match if match != "*" and key not in body]
        yield from (f"{row}.{key}: matchOn names it, but it is missing" for key in keys)
        yield from (f"{row}.{key}: outside the scope" for key, value in scope.items() if body.get(key) != value)


def _variants(name: str) -> dict[str, str | None]:
    """Schema name by variant; the only variant of a single type is called ""."""
    found = schema()["schemas"][name]
    if found["type"] == "single":
        return {"": found["schemaName"]}
    return {variant["name"]: variant.get("schemaName") for variant in found["variants"]}


def _fields(schema_name: str | None) -> Body:
    found: Body = schema()["fields"].get(schema_name, {"properties": {}})
    return found


def _every_property(name: str) -> set[str]:
    return {key for schema_name in _variants(name).values() for key in _fields(schema_name)["properties"]}


def _body(name: str, body: object, references: References) -> Iterator[str]:
    """A complete object, as sent at creation; nested objects are always complete."""
    if not isinstance(body, dict):
        yield "must be an object"
        return
    variants = _variants(name)
    variant = body.get("@type", "")
    if variant not in variants:
        yield "takes no @type" if "" in variants else f"@type `{variant}` is not one of {', '.join(variants)}"
        return
    fields = _fields(variants[variant])
    yield from _values(fields, body, references, patch=False)
    yield from _missing(fields, body, references)


def _patch(name: str, patch: Body, references: References) -> Iterator[str]:
    """An update: only what is named, and nothing immutable. Keys may be JSON pointers."""
    if not patch:
        yield "value is empty"
    variants = _variants(name)
    chosen = [variants[patch["@type"]]] if patch.get("@type") in variants else list(variants.values())
    properties = {key: rule for schema_name in chosen for key, rule in _fields(schema_name)["properties"].items()}
    yield from _values({"properties": properties}, patch, references, patch=True)


def _values(fields: Body, body: Body, references: References, *, patch: bool) -> Iterator[str]:
    for key, value in body.items():
        name, _, pointer = key.partition("/")
        rule = fields["properties"].get(name)
        if key == "@type":
            continue
        if rule is None:
            yield f"{key}: unknown property"
        elif rule.get("enterprise"):
            yield f"{key}: Enterprise only"
        elif rule["update"] == "serverSet" or (patch and rule["update"] == "immutable"):
            yield f"{key}: is {rule['update']}"
        elif not pointer:
            yield from _under(key, _value(rule["type"], value, references))


def _missing(fields: Body, body: Body, references: References) -> Iterator[str]:
    for key, rule in fields["properties"].items():
        kind = rule["type"]
        absent = key not in body and key not in fields.get("defaults", {})
        if not absent or rule["update"] == "serverSet" or kind.get("nullable"):
            continue
        if kind["type"] in {"string", "objectId", "blobId"} or kind.get("minItems"):
            yield f"{key}: is required"
        elif kind["type"] == "object":
            first = next(iter(_variants(kind["objectName"])))
            empty = {"@type": first} if first else {}
            yield from _under(key, _body(kind["objectName"], empty, references))


def _under(key: str, found: Iterator[str]) -> Iterator[str]:
    return (f"{key}: {what}" for what in found)


def _value(kind: Body, value: object, references: References) -> Iterator[str]:
    if value is None:
        if not kind.get("nullable"):
            yield "must not be null"
        return
    match kind["type"]:
        case "string":
            yield from _string(kind, value)
        case "number":
            yield from _number(kind, value)
        case "boolean" if not isinstance(value, bool):
            yield "must be true or false"
        case "enum" if value not in _members(kind["enumName"]):
            yield f"`{value}` is not in {kind['enumName']}"
        case "utcDateTime":
            yield from _time(value)
        case "objectId" | "blobId":
            yield from _reference(kind, value, references)
        case "object":
            yield from _body(kind["objectName"], value, references)
        case "objectList" | "set" | "map":
            yield from _collection(kind, value, references)


@cache
def _members(name: str) -> frozenset[str]:
    return frozenset(member["name"] for member in schema()["enums"][name])


def _string(kind: Body, value: object) -> Iterator[str]:
    if not isinstance(value, str) or not value:
        yield "must be a text that is not empty"
    elif len(value) > kind.get("maxLength", len(value)):
        yield f"is longer than {kind['maxLength']}"
    elif not _has_format(kind["format"], value):
        yield f"`{value}` is not of format {kind['format']}"


def _has_format(name: str, value: str) -> bool:
    try:
        match name:
            case "emailAddress":
                return MAIL.fullmatch(value) is not None
            case "uri":
                return bool(urlsplit(value).scheme and urlsplit(value).netloc)
            case "ipAddress":
                ipaddress.ip_address(value)
            case "ipNetwork":
                ipaddress.ip_network(value)
            case "socketAddress":
                address, _, port = value.rpartition(":")
                ipaddress.ip_address(address.strip("[]"))
                return 0 < int(port) < 65536
    except ValueError:
        return False
    return True


def _number(kind: Body, value: object) -> Iterator[str]:
    whole = kind["format"] != "float"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        yield f"must be a {'whole ' if whole else ''}number"
        return
    low = kind.get("min", {"duration": 1, "size": 0, "unsignedInteger": 0}.get(kind["format"]))
    high = kind.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        yield f"{value} is outside {low} to {high}"


def _time(value: object) -> Iterator[str]:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        yield f"`{value}` is not a time"


def _reference(kind: Body, value: object, references: References) -> Iterator[str]:
    if not isinstance(value, str) or not value:
        yield "must be an id"
        return
    if not value.startswith("#") or kind["type"] == "blobId":
        return
    known = schema()["objects"][kind["objectName"]]
    wanted = known["objectName"] if known["type"] == "view" else kind["objectName"]
    made = references.get(value[1:])
    if made != wanted:
        yield f"`{value}` is {made or 'not made by an earlier line'}, wanted {wanted}"


def _collection(kind: Body, value: object, references: References) -> Iterator[str]:
    if not isinstance(value, dict):
        yield "must be an object (lists and sets too)"
        return
    if len(value) < kind.get("minItems", 0):
        yield f"needs at least {kind['minItems']} items"
    for key, item in value.items():
        yield from _under(key, _item(kind, key, item, references))


def _item(kind: Body, key: str, item: object, references: References) -> Iterator[str]:
    match kind["type"]:
        case "objectList":
            if not key.isdigit():
                yield "list keys are numbers"
            yield from _body(kind["objectName"], item, references)
        case "set":
            if item is not True:
                yield "set members are true"
            yield from _value(kind["class"], key, references)
        case "map":
            yield from _value(kind["keyClass"], key, references)
            yield from _value(kind["valueClass"], item, references)
