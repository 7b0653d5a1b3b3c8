"""What the JSON schema cannot say: references, uniqueness and the rules of single models."""

import re
from pathlib import Path
from typing import Any

from .defaults import OUTPOST_CONFIG
from .models import schema
from .store import Row, Rows
from .tags import BlueprintInvalid

UNIQUE = {
    "authentik_core.user": "username",
    "authentik_core.group": "name",
    "authentik_core.token": "identifier",
    "authentik_core.application": "slug",
    "authentik_flows.flow": "slug",
    "authentik_rbac.role": "name",
    "authentik_outposts.outpost": "name",
    "authentik_brands.brand": "domain",
}
UNIQUE_FAMILIES = {"authentik_providers_": "name", "authentik_stages_": "name"}
INTEGER_TARGETS = {
    "user": "authentik_core.user",
    "users": "authentik_core.user",
    "provider": "authentik_providers_",
    "providers": "authentik_providers_",
    "backchannel_providers": "authentik_providers_",
}
PROVIDER_KINDS = {"proxy": "authentik_providers_proxy.", "ldap": "authentik_providers_ldap."}
SHIPPED_TEMPLATES = ("email/password_reset.html", "email/account_confirmation.html", "email/setup.html")
EMBEDDED_NAME = "authentik Embedded Outpost"
# uuid fields of the schema that do not point to another object
FREE_UUIDS = ("uuid", "pk")


def refuse_fixed_key(model: str, data: Row, existing: Row | None) -> None:
    if "pk" in data and existing is None:
        raise BlueprintInvalid("'str' object has no attribute 'hex'" if "outpost" in model else "pk cannot be chosen")


def check_references(rows: Rows, model: str, data: Row) -> None:
    properties = schema()["models"][model]["properties"]
    for name, value in data.items():
        shape = properties.get(name, {})
        shape = shape.get("items", shape) if isinstance(value, list) else shape
        for key in value if isinstance(value, list) else [value]:
            if key is not None and not _exists(rows, name, shape, key):
                raise BlueprintInvalid(f'{name}: Invalid pk "{key}" - object does not exist.')


def _exists(rows: Rows, name: str, shape: dict[str, Any], key: Any) -> bool:
    if name in INTEGER_TARGETS and isinstance(key, int):
        return rows.find(INTEGER_TARGETS[name], pk=key) is not None
    if shape.get("format") == "uuid" and name not in FREE_UUIDS:
        return rows.model_of(key) is not None
    return True


def check_unique(rows: Rows, model: str, data: Row, existing: Row | None) -> None:
    fields = [(model, UNIQUE.get(model))]
    fields += [(family, field) for family, field in UNIQUE_FAMILIES.items() if model.startswith(family)]
    for family, field in fields:
        if field in data:
            other = _other(
                rows, model if model.endswith(("mapping", ".prompt")) else family, field, data[field], existing
            )
            if other:
                raise BlueprintInvalid(f"{field}: This field must be unique.")


def _other(rows: Rows, family: str, field: str | None, value: Any, existing: Row | None) -> Row | None:
    candidates = rows.all(family) if field else []
    return next((row for row in candidates if row.get(field or "") == value and row is not existing), None)


def check_permission(name: str) -> None:
    if "." not in name:
        raise BlueprintInvalid(f"permission {name!r} must be written app_label.codename")
    if name not in schema()["permissions"]:
        raise BlueprintInvalid(f"permission {name!r} does not exist")


def check(rows: Rows, model: str, data: Row, merged: Row, existing: Row | None) -> None:
    if "expression" in data:
        _compile(data["expression"])
    for permission in data.get("permissions") or []:
        check_permission(permission)
    handler = CHECKS.get(model)
    if handler:
        handler(rows, data, merged, existing)


def _compile(expression: str) -> None:
    body = "\n".join("    " + line for line in expression.splitlines()) or "    pass"
    try:
        compile("def expression():\n" + body, "expression", "exec")
    except SyntaxError as error:
        raise BlueprintInvalid(f"expression: {error}") from error


def _oauth2(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    if not merged.get("grant_types"):
        raise BlueprintInvalid("grant_types is empty: every login would end with invalid_request")
    if not merged.get("property_mappings"):
        raise BlueprintInvalid("property_mappings is empty: no scope, not even openid")
    if not re.fullmatch(r"[ -~]*", merged.get("client_secret") or ""):
        raise BlueprintInvalid("client_secret: printable ASCII only")
    for uri in merged["redirect_uris"]:
        if uri.keys() - {"matching_mode", "url", "redirect_uri_type"}:
            raise BlueprintInvalid(f"redirect_uris: unknown key in {uri}")


def _proxy(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    mode = data.get("mode", "proxy")
    if mode == "proxy" and not data.get("internal_host"):
        raise BlueprintInvalid("internal_host: required in mode proxy (mode must be repeated in every update)")
    if mode == "forward_domain" and not merged.get("cookie_domain"):
        raise BlueprintInvalid("cookie_domain: required in mode forward_domain")
    if not re.fullmatch(r"https?://[^/]+/?", merged["external_host"]):
        raise BlueprintInvalid("external_host: not a URL of scheme and host")


def _application(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    if not re.fullmatch(r"[-a-zA-Z0-9_]+", merged["slug"]):
        raise BlueprintInvalid("slug: letters, digits, hyphens and underscores only")
    provider = data.get("provider")
    if provider is not None and _other(rows, "authentik_core.application", "provider", provider, existing):
        raise BlueprintInvalid("provider: This field must be unique.")


def _binding(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    if sum(1 for name in ("policy", "group", "user") if merged.get(name)) != 1:
        raise BlueprintInvalid("exactly one of policy, group and user is needed")


def _user(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    if data.get("type") == "internal_service_account":
        raise BlueprintInvalid("type: internal_service_account cannot be set")
    if data.get("password") and data.get("password_hash"):
        raise BlueprintInvalid("password and password_hash exclude each other")


def _token(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    for name in ("user", "intent"):
        if not merged.get(name):
            raise BlueprintInvalid(f"{name}: this field is required")
    if existing and data.get("user", existing["user"]) != existing["user"]:
        raise BlueprintInvalid("user: cannot be changed")
    if merged.get("expiring", True):
        raise BlueprintInvalid("expiring is not false: the key would rotate after a day")


def _outpost(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    if merged.get("managed"):
        if merged["name"] != EMBEDDED_NAME:
            raise BlueprintInvalid(f"name: Embedded outpost's name must be {EMBEDDED_NAME!r}")
    elif not merged["providers"]:
        raise BlueprintInvalid("providers: This list may not be empty.")
    for key in merged["providers"]:
        kind = PROVIDER_KINDS.get(merged["type"], "authentik_providers_radius.")
        if rows.find(kind, pk=key) is None:
            raise BlueprintInvalid(f"providers: {key} does not fit an outpost of type {merged['type']}")
    _outpost_config(data.get("config") or {})


def _outpost_config(config: Row) -> None:
    unknown = [name for name in config if name not in OUTPOST_CONFIG and not name.startswith("kubernetes_")]
    if unknown:
        raise BlueprintInvalid(f"config: unknown keys {unknown}")


def _email(rows: Rows, data: Row, merged: Row, existing: Row | None) -> None:
    template = merged.get("template", SHIPPED_TEMPLATES[0])
    if template not in SHIPPED_TEMPLATES and not Path("/templates", template).is_file():
        raise BlueprintInvalid(f"template: Invalid template {template!r}")


CHECKS = {
    "authentik_providers_oauth2.oauth2provider": _oauth2,
    "authentik_providers_proxy.proxyprovider": _proxy,
    "authentik_core.application": _application,
    "authentik_policies.policybinding": _binding,
    "authentik_core.user": _user,
    "authentik_core.token": _token,
    "authentik_outposts.outpost": _outpost,
    "authentik_stages_email.emailstage": _email,
}
