"""Applies one blueprint. Stricter than the real server wherever that one ignores mistakes silently:
unknown attributes, lost references, providers without grant types. The double is a linter there, on purpose."""

import datetime
import secrets
from typing import Any

import yaml
from jsonschema import Draft7Validator

from . import rules
from .accounts import hash_password
from .defaults import OUTPOST_CONFIG, new_user, outpost_account
from .models import schema
from .store import Row, Rows
from .tags import BlueprintInvalid, Evaluator, Loader, matches

ENTRY_KEYS = {"model", "id", "identifiers", "attrs", "state", "conditions", "permissions"}
FILE_KEYS = {"version", "metadata", "context", "entries"}
STATES = ("present", "created", "must_created", "absent")
META = "authentik_blueprints.metaapplyblueprint"
CONTEXT = {"goauthentik.io/enterprise/licensed": False, "goauthentik.io/rbac/models": {}}
# Never in the API answer; kept under another name.
SECRET_FIELDS = {"password": "_password", "password_hash": "_password"}


def parse(text: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, Loader)  # derives from SafeLoader
    except yaml.YAMLError as error:
        raise BlueprintInvalid(f"bad YAML: {error}") from error
    if not isinstance(document, dict) or document.get("version") != 1 or document.keys() - FILE_KEYS:
        raise BlueprintInvalid(f"not a blueprint of version 1 with only the keys {sorted(FILE_KEYS)}")
    metadata = document.get("metadata") or {}
    labels = metadata.get("labels") or {}
    if not metadata.get("name") or not all(isinstance(label, str) for label in labels.values()):
        raise BlueprintInvalid("metadata needs a name, and labels are strings")
    return document


def apply(rows: Rows, text: str) -> None:
    """Raises BlueprintInvalid; the caller's transaction undoes what was done until then."""
    document = parse(text)
    evaluator = Evaluator(rows, {**CONTEXT, **(document.get("context") or {})})
    entries = document.get("entries") or []
    sections = entries.values() if isinstance(entries, dict) else [entries]
    for entry in [entry for section in sections for entry in section]:
        try:
            _apply_entry(evaluator, entry)
        except BlueprintInvalid as error:
            raise BlueprintInvalid(_told(entry, str(error))) from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BlueprintInvalid(f"malformed entry {entry}: {error!r}") from error


def _told(entry: dict[str, Any], why: str) -> str:
    """As the real server tells it, values and all."""
    shown = {"model": "", "state": "present", "conditions": [], "identifiers": {}, "attrs": {}, **entry}
    return f"Entry invalid: {why}: { {'entry': shown, 'error': why} }"


def _apply_entry(evaluator: Evaluator, entry: dict[str, Any]) -> None:
    if entry.keys() - ENTRY_KEYS:
        raise BlueprintInvalid(f"unknown keys {sorted(entry.keys() - ENTRY_KEYS)}")
    model = evaluator.resolve(entry["model"])
    if model not in schema()["models"]:
        raise BlueprintInvalid("no such model")
    if not all(evaluator.question(condition) for condition in entry.get("conditions") or []):
        return
    if model == META:
        _apply_meta(evaluator, entry)
        return
    identifiers = evaluator.resolve(entry.get("identifiers") or {})
    if not identifiers:
        raise BlueprintInvalid("no identifiers")
    row = _upsert(evaluator, model, identifiers, entry)
    if row is not None and entry.get("id"):
        evaluator.ids[entry["id"]] = row


def _apply_meta(evaluator: Evaluator, entry: dict[str, Any]) -> None:
    attrs = entry.get("attrs") or {}
    wanted = list(evaluator.resolve(attrs.get("identifiers") or {}).items())
    instances = evaluator.rows.all("authentik_blueprints.blueprintinstance")
    if not wanted or entry.get("identifiers") or attrs.keys() - {"identifiers", "required"}:
        raise BlueprintInvalid("metaapplyblueprint takes attrs.identifiers and attrs.required only")
    if attrs.get("required", True) and not any(matches(row, wanted) for row in instances):
        raise BlueprintInvalid("required blueprint instance does not exist")


def _upsert(evaluator: Evaluator, model: str, identifiers: Row, entry: dict[str, Any]) -> Row | None:
    rows, state = evaluator.rows, entry.get("state", "present")
    if state not in STATES:
        raise BlueprintInvalid(f"unknown state {state!r}")
    existing = find_existing(rows, model, identifiers)
    if state == "absent":
        if existing:
            rows.delete(existing["pk"])
        elif model == "authentik_flows.flowstagebinding":
            raise BlueprintInvalid("FlowStageBinding has no policybindingmodel_ptr.")
        return None
    if existing and state == "must_created":
        raise BlueprintInvalid("exists already, but state is must_created")
    if existing and state == "created":
        return existing
    attrs = {**evaluator.resolve(entry.get("attrs") or {}), **identifiers}
    row = save(rows, model, attrs, existing)
    _set_permissions(evaluator, row, entry.get("permissions") or [])
    return row


def find_existing(rows: Rows, model: str, identifiers: Row) -> Row | None:
    if "pk" in identifiers:
        hit = rows.find(model, pk=identifiers["pk"])
        if hit:
            return hit
    wanted = [(name, value) for name, value in identifiers.items() if name != "pk"]
    return next((row for row in rows.all(model) if wanted and matches(row, wanted)), None)


def save(rows: Rows, model: str, attrs: Row, existing: Row | None) -> Row:
    """Validates like the serializer, then creates or updates; also the way of the API."""
    data = {name: _plain(value) for name, value in attrs.items()}
    rules.refuse_fixed_key(model, data, existing)
    data.pop("pk", None)
    check_fields(model, data)
    merged = {**(existing or {}), **data}
    for name in schema()["models"][model]["required"]:
        if name not in merged:
            raise BlueprintInvalid(f"{name}: this field is required")
    rules.check_references(rows, model, data)
    rules.check_unique(rows, model, data, existing)
    rules.check(rows, model, data, merged, existing)
    return _store(rows, model, data, existing)


def check_fields(model: str, data: Row) -> None:
    properties = schema()["models"][model]["properties"]
    for name, value in data.items():
        if name not in properties and name != "managed":
            raise BlueprintInvalid(f"{name}: unknown attribute (the real server ignores it silently)")
        _check_value(name, value, properties.get(name, {}), name in schema()["models"][model]["required"])


def _check_value(name: str, value: Any, shape: dict[str, Any], required: bool) -> None:
    # Foreign keys are nullable in Django although the schema does not say so.
    if value is None and not required and (shape.get("format") == "uuid" or shape.get("type") == "integer"):
        return
    for error in Draft7Validator(shape).iter_errors(value):
        raise BlueprintInvalid(f"{name}: {error.message}")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date) else value


def _store(rows: Rows, model: str, data: Row, existing: Row | None) -> Row:
    data = {SECRET_FIELDS.get(name, name): _stored(name, value) for name, value in data.items()}
    members = data.pop("users", None) if model == "authentik_core.group" else None
    row = existing or _create(rows, model, data)
    if model == "authentik_outposts.outpost" and "config" in data:
        data["config"] = {**OUTPOST_CONFIG, **data["config"]}
    row.update(data)
    if members is not None:
        _replace_members(rows, row["pk"], members)
    if model == "authentik_outposts.outpost" and existing is None:
        outpost_account(rows, row)
    return row


def _stored(name: str, value: Any) -> Any:
    return hash_password(value) if name == "password" and value is not None else value


def _create(rows: Rows, model: str, data: Row) -> Row:
    if model == "authentik_core.user":
        return new_user(rows, data["username"], data["name"])
    row = rows.add(model)
    if model == "authentik_core.token":
        row.update(expiring=True, key=secrets.token_urlsafe(45))
    if model in ("authentik_providers_oauth2.oauth2provider", "authentik_providers_proxy.proxyprovider"):
        row.update(client_id=secrets.token_urlsafe(30), client_secret=secrets.token_urlsafe(60))
        row.update(grant_types=[], property_mappings=[], client_type="confidential", sub_mode="hashed_user_id")
    return row


def _replace_members(rows: Rows, group: Any, members: list[int]) -> None:
    for user in rows.all("authentik_core.user"):
        others = [key for key in user["groups"] if key != group]
        user["groups"] = [*others, group] if user["pk"] in members else others


def _set_permissions(evaluator: Evaluator, row: Row, permissions: list[Row]) -> None:
    for permission in evaluator.resolve(permissions):
        name = permission.get("permission", "")
        if permission.keys() - {"permission", "role", "user"} or len(permission) != 2:
            raise BlueprintInvalid("permissions take permission and role (or user)")
        rules.check_permission(name)
        granted = row.setdefault("_permissions", [])
        if permission not in granted:
            granted.append(permission)
