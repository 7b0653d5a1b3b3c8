"""Validates registry objects by the real schema and the wire rules of 0.16."""

import gzip
import ipaddress
import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("schema.json.gz")
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
MASK = "****"
Exists = Callable[[str, str], bool]


class SetError(Exception):
    def __init__(self, kind: str, name: str, description: str, **extra: Any) -> None:
        super().__init__(f"{kind}: {name}: {description}")
        self.body = {"type": kind, "properties": [name], "description": f"{name}: {description}", **extra}


def failed(name: str, rule: str, description: str) -> SetError:
    return SetError("validationFailed", name, description, validationErrors=[{"type": rule, "property": name}])


@cache
def schema() -> dict[str, Any]:
    return dict(json.loads(gzip.decompress(FILE.read_bytes())))


def kind_of(name: str) -> str | None:
    """object, singleton, or None: unknown, a view, or Enterprise only."""
    found = schema()["objects"].get(name, {})
    return None if found.get("enterprise") or found.get("type") == "view" else found.get("type")


def fields_of(name: str, variant: Any, where: str) -> dict[str, Any]:
    shape = schema()["schemas"][name]
    if shape["type"] == "single":
        if variant is not None:
            raise SetError("invalidProperties", where + "@type", "this object has no variants")
        return schema()["fields"].get(shape["schemaName"], {"properties": {}})
    if variant is None:
        raise SetError("invalidProperties", where + "@type", "is missing")
    for candidate in shape["variants"]:
        if candidate["name"] == variant:
            return schema()["fields"].get(candidate.get("schemaName"), {"properties": {}})
    raise SetError("invalidProperties", where + "@type", f"unknown variant {variant!r}")


def first_variant(name: str) -> dict[str, Any]:
    shape = schema()["schemas"][name]
    return {} if shape["type"] == "single" else {"@type": shape["variants"][0]["name"]}


def property_of(name: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    """The property a client may name; refuses unknown, server-set and Enterprise ones."""
    found = fields_of(name, body.get("@type"), "").get("properties", {}).get(key)
    if found is None:
        raise SetError("invalidProperties", key, "unknown property")
    if found["update"] == "serverSet":
        raise SetError("invalidProperties", key, "is set by the server")
    if found.get("enterprise"):
        raise SetError("forbidden", key, "Enterprise edition only")
    return dict(found)


def complete(name: str, body: dict[str, Any], exists: Exists, where: str = "") -> dict[str, Any]:
    """Checks every value, fills the defaults in, and finds what is missing."""
    fields = fields_of(name, body.get("@type"), where)
    result = dict(body)
    for key, value in body.items():
        if key == "@type":
            continue
        property_of(name, body, key)
        result[key] = check(fields["properties"][key]["type"], value, where + key, exists)
    for key, shape in fields["properties"].items():
        if key not in body and shape["update"] != "serverSet" and not shape.get("enterprise"):
            _fill(result, key, shape["type"], fields.get("defaults") or {}, where, exists)
    return result


def _fill(result: dict[str, Any], key: str, shape: dict[str, Any], defaults: Any, where: str, exists: Exists) -> None:
    if key in defaults:
        # Some are written for the web interface only; then the server's own default stays unknown here.
        with suppress(SetError, ValueError, AttributeError, TypeError):
            result[key] = check(shape, _wire(shape, defaults[key]), where + key, lambda kind, identifier: True)
    elif shape.get("nullable"):
        result[key] = None
    elif shape["type"] == "object":
        result[key] = complete(shape["objectName"], first_variant(shape["objectName"]), exists, where + key + "/")
    elif shape["type"] in ("string", "objectId", "blobId") or shape.get("minItems"):
        raise failed(where + key, "Required", "is required")
    elif shape["type"] in ("set", "objectList", "map"):
        result[key] = {}


def _wire(shape: dict[str, Any], value: Any) -> Any:
    """Schema defaults are written for the web interface: "1d", ["a"]."""
    if shape["type"] == "number" and isinstance(value, str):
        number, unit = re.fullmatch(r"(\d+)\s*([a-z]*)", value).groups()  # type: ignore[union-attr]
        return int(number) * UNITS[unit or "ms"]
    if shape["type"] == "set" and isinstance(value, list):
        return dict.fromkeys(value, True)
    if shape["type"] == "objectList" and isinstance(value, list):
        return {str(number): item for number, item in enumerate(value)}
    return value


def check(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    if isinstance(value, list):
        raise SetError("invalidPatch", where, "JSON arrays are not accepted, use an object")
    if value is None:
        if shape.get("nullable"):
            return None
        raise failed(where, "Required", "must not be null")
    return CHECKS[shape["type"]](shape, value, where, exists)


def _need(value: Any, kinds: type | tuple[type, ...], where: str) -> None:
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise SetError("invalidPatch", where, f"has the wrong JSON type ({type(value).__name__})")


def _string(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, str, where)
    if not value:
        raise failed(where, "Required", "must not be empty")
    if len(value) > shape.get("maxLength", 10**9):
        raise failed(where, "MaxLength", "is too long")
    if shape["format"] in ("secret", "secretText") and value == MASK:
        raise failed(where, "Invalid", "is the mask of a secret; the real server would store it")
    if not _format_fits(shape["format"], value):
        raise failed(where, "Invalid", f"{value!r} is not a valid {shape['format']}")
    return value


def _format_fits(form: str, value: str) -> bool:
    try:
        if form == "ipAddress":
            ipaddress.ip_address(value)
        elif form == "ipNetwork":
            ipaddress.ip_network(value)
        elif form == "socketAddress":
            host, _, port = value.rpartition(":")
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            return 0 < int(port) < 65536
    except ValueError:
        return False
    if form == "emailAddress":
        return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value) is not None
    return form != "uri" or re.match(r"[a-z][a-z0-9+.-]*:\S+", value) is not None


def _number(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, (int, float) if shape["format"] == "float" else int, where)
    lowest = shape.get("min", 1 if shape["format"] == "duration" else None)
    if shape["format"] in ("unsignedInteger", "size"):
        lowest = shape.get("min", 0)
    if lowest is not None and value < lowest:
        raise failed(where, "MinValue", f"must be at least {lowest}")
    if value > shape.get("max", float("inf")):
        raise failed(where, "MaxValue", f"must be at most {shape['max']}")
    return value


def _boolean(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, bool, where)
    return value


def _enum(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, str, where)
    if value not in {member["name"] for member in schema()["enums"][shape["enumName"]]}:
        raise failed(where, "Invalid", f"{value!r} is not in {shape['enumName']}")
    return value


def _moment(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, str, where)
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise failed(where, "Invalid", str(error)) from error
    return value


def _object_id(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, str, where)
    if not exists(shape["objectName"], value):
        raise SetError("invalidForeignKey", where, f"{shape['objectName']} {value!r} does not exist", objectId=value)
    return value


def _object(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, dict, where)
    whole = complete(shape["objectName"], value, exists, where + "/")
    if shape["objectName"] == "x:Expression":
        _expression(whole, where)
    return whole


def _expression(value: dict[str, Any], where: str) -> None:
    branches = [text for item in value.get("match", {}).values() for text in (item["if"], item["then"])]
    for text in [*branches, value.get("else") or ""]:
        bare = re.sub(r"'[^']*'", "", text)
        if "'" in bare or bare.count("(") != bare.count(")") or re.search(r"is_local_domain\([^()]*,", bare):
            raise failed(where, "Invalid", f"{text!r} does not compile")


def _object_list(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, dict, where)
    for key in value:
        if not key.isdigit():
            raise SetError("invalidPatch", where, f"list index {key!r} is not a number")
    _enough(shape, value, where)
    inner = {"type": "object", "objectName": shape["objectName"]}
    return {key: check(inner, item, f"{where}/{key}", exists) for key, item in value.items()}


def _set(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, dict, where)
    for key, present in value.items():
        if present is not True:
            raise SetError("invalidPatch", where, f"member {key!r} must be true")
        check(shape["class"], key, f"{where}/{key}", exists)
    _enough(shape, value, where)
    return value


def _map(shape: dict[str, Any], value: Any, where: str, exists: Exists) -> Any:
    _need(value, dict, where)
    for key in value:
        check(shape["keyClass"], key, f"{where}/{key}", exists)
    return {key: check(shape["valueClass"], item, f"{where}/{key}", exists) for key, item in value.items()}


def _enough(shape: dict[str, Any], value: dict[str, Any], where: str) -> None:
    if len(value) < shape.get("minItems", 0):
        raise failed(where, "MinItems", f"needs at least {shape['minItems']}")


CHECKS: dict[str, Callable[[dict[str, Any], Any, str, Exists], Any]] = {
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "enum": _enum,
    "utcDateTime": _moment,
    "objectId": _object_id,
    "blobId": lambda shape, value, where, exists: value,
    "object": _object,
    "objectList": _object_list,
    "set": _set,
    "map": _map,
}


def resolve_secret(secret: dict[str, Any] | None, environ: Any) -> str | None:
    """The value behind a secret reference; KeyError and OSError mean a build error."""
    kind = (secret or {}).get("@type", "None")
    if secret is None or kind == "None":
        return None
    if kind == "EnvironmentVariable":
        return str(environ[secret["variableName"]])
    if kind == "File":
        return Path(secret["filePath"]).read_text(encoding="utf-8").rstrip()
    return str(secret.get("secret") or secret.get("value"))
