"""Passwords, tokens, groups and who may do what."""

import base64
import hashlib
import hmac
import secrets

from . import UnknownToDouble
from .store import Row, Rows

ITERATIONS = 20_000  # far fewer than Django's: only tests live here


def hash_password(password: str) -> str:
    salt = secrets.token_hex(8)
    return f"pbkdf2_sha256${ITERATIONS}${salt}${_digest(password, salt, ITERATIONS)}"


def _digest(password: str, salt: str, iterations: int) -> str:
    return base64.b64encode(hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), iterations)).decode()


def check_password(rows: Rows, user: Row, password: str) -> bool:
    """The password itself or, as in the default flow, an app password token."""
    if not user["is_active"]:
        return False
    tokens = [row for row in rows.all("authentik_core.token") if row["user"] == user["pk"]]
    if any(row["intent"] == "app_password" and hmac.compare_digest(row["key"], password) for row in tokens):
        return True
    stored = user.get("_password") or ""
    if not stored:
        return False
    if not stored.startswith("pbkdf2_sha256$"):
        raise UnknownToDouble("the double verifies pbkdf2_sha256 hashes only")
    _, iterations, salt, digest = stored.split("$")
    return hmac.compare_digest(_digest(password, salt, int(iterations)), digest)


def token_owner(rows: Rows, key: str) -> Row | None:
    token = rows.find("authentik_core.token", key=key, intent="api")
    owner = rows.find("authentik_core.user", pk=token["user"]) if token else None
    return owner if owner and owner["is_active"] else None


def all_groups(rows: Rows, user: Row) -> list[Row]:
    """Direct groups and their parents."""
    found: dict[str, Row] = {}
    pending = list(user["groups"])
    while pending:
        key = pending.pop()
        group = rows.find("authentik_core.group", pk=key)
        if group and key not in found:
            found[key] = group
            pending += group.get("parents") or []
    return list(found.values())


def is_superuser(rows: Rows, user: Row) -> bool:
    return any(group.get("is_superuser") for group in all_groups(rows, user))


def roles_of(rows: Rows, user: Row) -> set[str]:
    from_groups = [role for group in all_groups(rows, user) for role in group.get("roles") or []]
    return {*(user.get("roles") or []), *from_groups}


def has_permission(rows: Rows, user: Row, permission: str, target: Row | None = None) -> bool:
    if is_superuser(rows, user) or permission in (user.get("permissions") or []):
        return True
    roles = roles_of(rows, user)
    grants = (target or {}).get("_permissions") or []
    if any(grant["permission"] == permission and grant.get("role") in roles for grant in grants):
        return True
    return any(
        permission in (row.get("permissions") or []) for row in rows.all("authentik_rbac.role") if row["pk"] in roles
    )


def may_open(rows: Rows, user: Row, application: Row) -> bool:
    """Policy bindings of an application; without any it is open to everybody."""
    bindings = [
        row
        for row in rows.all("authentik_policies.policybinding")
        if row["target"] == application["pk"] and row.get("enabled", True)
    ]
    if not bindings:
        return True
    results = [_passes(rows, user, binding) for binding in bindings]
    return all(results) if application.get("policy_engine_mode") == "all" else any(results)


def _passes(rows: Rows, user: Row, binding: Row) -> bool:
    if binding.get("policy"):
        raise UnknownToDouble("policy bindings with a policy are not evaluated")
    if binding.get("group"):
        result = binding["group"] in {group["pk"] for group in all_groups(rows, user)}
    else:
        result = binding.get("user") == user["pk"]
    return result != bool(binding.get("negate"))
