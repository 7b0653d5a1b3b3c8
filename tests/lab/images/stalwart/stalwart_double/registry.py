"""x:<Object>/get, /query and /set over the stored rows, with the server's own side effects."""

import base64
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from argon2 import PasswordHasher
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from .keyring import Broken, Keyring, described
from .schema import (
    MASK,
    SetError,
    complete,
    failed,
    fields_of,
    first_variant,
    kind_of,
    property_of,
    resolve_secret,
    schema,
)
from .store import Row, Tables
from .zone import zone_file

DKIM_DELAY = 3
UNIQUE = {
    "x:Domain": ("name",),
    "x:NetworkListener": ("name",),
    "x:MtaRoute": ("name",),
    "x:MtaTlsStrategy": ("name",),
    "x:MtaConnectionStrategy": ("name",),
    "x:MtaVirtualQueue": ("name",),
    "x:AllowedIp": ("address",),
    "x:BlockedIp": ("address",),
    "x:EventTracingLevel": ("event",),
}
ADDRESSED = ("x:Account", "x:MailingList")
OWNED = {"x:AppPassword": "app_", "x:ApiKey": "API_"}
FILTERS = {
    "x:Domain": {"name", "text"},
    "x:Account": {"name", "domainId", "text", "@type"},
    "x:DkimSignature": {"domainId"},
    "x:Certificate": {"subjectAlternativeNames"},
    "x:NetworkListener": {"name"},
    "x:MtaRoute": {"name"},
    "x:MtaTlsStrategy": {"name"},
    "x:AllowedIp": {"address"},
    "x:BlockedIp": {"address"},
}
ACTIONS = ("ReloadSettings", "ReloadTlsCertificates", "ReloadLookupStores", "ReloadBlockedIps", "InvalidateCaches")


class MethodError(Exception):
    """A whole method call that is refused."""


@dataclass
class Registry:
    tables: Tables
    recovery: bool = False
    reloaded: bool = False
    keyring: Keyring | None = None

    def rows(self, name: str) -> dict[str, Row]:
        return self.tables.setdefault(name, {})

    def exists(self, name: str, key: str) -> bool:
        return key in self.tables.get(name.split("/")[0], {})

    def singleton(self, name: str) -> Row:
        stored = self.tables.get(name, {}).get("singleton")
        if stored is not None:
            return stored
        try:
            return complete(name, first_variant(name), self.exists)
        except SetError:
            return first_variant(name)

    # reading

    def get(self, name: str, keys: list[str] | None, properties: list[str] | None, owner: str | None) -> Row:
        self._make_dkim_keys()
        found = {"singleton": self.singleton(name)} if kind_of(name) == "singleton" else self.tables.get(name, {})
        if name in OWNED:
            found = {key: row for key, row in found.items() if row["_account"] == owner}
        # as seen: a singleton is told only when its id is named
        wanted = [key for key in found if key != "singleton"] if keys is None else keys
        listed = [self._show(name, key, found[key], properties) for key in wanted if key in found]
        return {"list": listed, "notFound": [key for key in wanted if key not in found], "state": "double"}

    def _show(self, name: str, key: str, row: Row, properties: list[str] | None) -> Row:
        shown = {field: value for field, value in row.items() if not field.startswith("_")}
        if name == "x:Domain":
            shown["dnsZoneFile"] = zone_file(self.tables, key, self.singleton("x:SystemSettings"))
        if name == "x:Account":
            domain = self.tables["x:Domain"][row["domainId"]]["name"]
            shown.update(emailAddress=f"{row['name']}@{domain}", usedDiskQuota=0)
        if name in OWNED:
            shown["secret"] = MASK
        known = {"id", "@type", *fields_of(name, row.get("@type"), "")["properties"]}
        if properties is not None and set(properties) - known:
            raise MethodError(f"invalidArguments: unknown properties {sorted(set(properties) - known)}")
        masked = {field: _masked(value) for field, value in shown.items()}
        return {"id": key, **{field: value for field, value in masked.items() if not properties or field in properties}}

    def query(self, name: str, conditions: Row, owner: str | None) -> list[str]:
        self._make_dkim_keys()
        for field in conditions:
            if field not in FILTERS.get(name, set()):
                raise MethodError(f"unsupportedFilter: {field}")
        rows = self.tables.get(name, {})
        return [
            key
            for key, row in rows.items()
            if all(_filter_fits(row, field, value) for field, value in conditions.items())
            and (name not in OWNED or row["_account"] == owner)
        ]

    # writing

    def create(self, name: str, body: Row, owner: str | None) -> Row:
        if kind_of(name) == "singleton":
            raise SetError("singleton", "id", "singletons can only be updated")
        if name == "x:Action":
            return self._act(body)
        row = complete(name, body, self.exists)
        self._check_unique(name, row, None)
        answer = self._prepare(name, body, row, owner)
        key = "d" + secrets.token_hex(6)
        self.rows(name)[key] = row
        return {"id": key, **answer}

    def update(self, name: str, key: str, patch: Row) -> None:
        single = kind_of(name) == "singleton"
        if name in OWNED or name == "x:Action" or (key != "singleton" if single else key not in self.rows(name)):
            raise SetError("notFound", "id", f"{name} {key} cannot be updated or does not exist")
        current = self.singleton(name) if single else self.rows(name)[key]
        merged = {field: value for field, value in current.items() if not self._server_set(name, current, field)}
        for path, value in patch.items():
            self._apply_patch(name, merged, path, value, create=single and key not in self.tables.get(name, {}))
        hidden = {field: value for field, value in current.items() if field not in merged}
        row = {**complete(name, merged, self.exists), **hidden}
        self._check_unique(name, row, key)
        self._prepare_update(name, row, patch)
        self.rows(name)[key] = row

    def _server_set(self, name: str, row: Row, field: str) -> bool:
        shape = fields_of(name, row.get("@type"), "")["properties"].get(field)
        return field.startswith("_") or (shape is not None and shape["update"] == "serverSet")

    def _apply_patch(self, name: str, merged: Row, path: str, value: Any, create: bool) -> None:
        first, *rest = path.split("/")
        if first == "@type":
            if merged.get("@type") != value and not create and kind_of(name) != "singleton":
                raise SetError("invalidPatch", "@type", "the variant cannot be changed")
            merged["@type"] = value
            return
        shape = property_of(name, merged, first)
        if shape["update"] == "immutable" and not create:
            raise SetError("invalidProperties", first, "is immutable")
        if not rest:
            merged[first] = value
            return
        inner = merged[first] = dict(merged.get(first) or {})
        for part in rest[:-1]:
            inner[part] = dict(inner.get(part) or {})
            inner = inner[part]
        if value is None:
            inner.pop(rest[-1], None)
        else:
            inner[rest[-1]] = value

    def destroy(self, name: str, key: str) -> None:
        if kind_of(name) == "singleton":
            raise SetError("singleton", "id", "singletons cannot be destroyed")
        if key not in self.rows(name):
            raise SetError("notFound", "id", f"{name} {key} does not exist")
        links = [
            {"object": other, "id": identifier}
            for other, rows in self.tables.items()
            for identifier, row in rows.items()
            if (other, identifier) != (name, key) and _mentions(row, key)
        ]
        if links:
            raise SetError("objectIsLinked", "id", f"{name} {key} is in use", objectId=key, linkedObjects=links)
        del self.rows(name)[key]

    # side effects

    def _check_unique(self, name: str, row: Row, own: str | None) -> None:
        tables = ADDRESSED if name in ADDRESSED else (name,)
        fields = ("name", "domainId") if name in ADDRESSED else UNIQUE.get(name, ())
        for table in tables if fields else ():
            for key, other in self.tables.get(table, {}).items():
                if key != own and all(other.get(field) == row.get(field) for field in fields):
                    raise SetError("primaryKeyViolation", fields[0], "exists already", existingId=key)

    def _prepare(self, name: str, body: Row, row: Row, owner: str | None) -> Row:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if "createdAt" in fields_of(name, row.get("@type"), "")["properties"]:
            row["createdAt"] = now
        if name == "x:Domain":
            row["_born"] = time.time()
        if name in OWNED:
            return self._own_secret(name, row, owner)
        self._prepare_update(name, row, body)
        return {}

    def _prepare_update(self, name: str, row: Row, patch: Row) -> None:
        if name == "x:Account" and any(field.split("/")[0] == "credentials" for field in patch):
            self._hash_credentials(row)
        if name == "x:Directory" and bool(row.get("bindDn")) != (row.get("bindSecret", {}).get("@type") != "None"):
            raise failed("bindDn", "Invalid", "bindDn and bindSecret belong together")
        if name == "x:Certificate" and "certificate" in patch:
            row.update(self._described(row))
        if name == "x:NetworkListener" and row["tlsImplicit"] and not row["useTls"]:
            raise failed("tlsImplicit", "Invalid", "needs useTls")

    def _described(self, row: Row) -> Row:
        """Read at once when it is created; later the same path is not read again before a reload."""
        try:
            found = described((self.keyring or Keyring()).read(row)[0])
        except Broken as error:
            raise SetError("invalidProperties", "certificate", f"Failed to read certificate: {error}") from error
        if not found["issuer"]:
            raise failed("issuer", "Required", "is required")
        return found

    def _hash_credentials(self, row: Row) -> None:
        items = list(row["credentials"].values())
        if [item["@type"] for item in items] not in ([], ["Password"]):
            raise SetError("invalidProperties", "credentials", "only one Password may be set here")
        authentication = self.singleton("x:Authentication")
        if items and authentication.get("directoryId"):
            raise SetError("forbidden", "credentials", "passwords live in the external directory")
        for item in items:
            if item["secret"].startswith("$"):
                continue
            if len(item["secret"]) < authentication.get("passwordMinLength", 8):
                raise failed("credentials", "Invalid", "password is too short")
            item["secret"] = PasswordHasher().hash(item["secret"])

    def _own_secret(self, name: str, row: Row, owner: str | None) -> Row:
        if owner is None or owner not in self.tables.get("x:Account", {}):
            raise SetError("forbidden", "accountId", "the caller has no account row: pass accountId")
        limit = self.singleton("x:Authentication")["maxAppPasswords" if name == "x:AppPassword" else "maxApiKeys"]
        if sum(1 for other in self.rows(name).values() if other["_account"] == owner) >= limit:
            raise SetError("overQuota", "accountId", f"only {limit} per account")
        secret = OWNED[name] + secrets.token_urlsafe(30)
        row.update(_account=owner, _secret=secret)
        return {"secret": secret, "createdAt": row["createdAt"]}

    def _act(self, body: Row) -> Row:
        complete("x:Action", body, self.exists)
        if body["@type"] not in ACTIONS:
            raise SetError("forbidden", "@type", f"the double does not know the action {body['@type']}")
        if body["@type"] == "ReloadSettings" and (problems := self.build_errors()):
            raise failed("@type", "Invalid", "registry.build-error: " + "; ".join(problems))
        if body["@type"] in ("ReloadSettings", "ReloadTlsCertificates") and self.keyring is not None:
            for key, problem in self.keyring.load(self.tables):
                raise SetError("validationFailed", "@type", problem, objectId={"object": "Certificate", "id": key})
        self.reloaded = body["@type"] == "ReloadSettings"
        return {"id": "a" + secrets.token_hex(4)}

    def build_errors(self) -> list[str]:
        return [
            f"{name} {key}: {problem}"
            for name, rows in self.tables.items()
            if name.startswith("x:")
            for key, row in rows.items()
            for problem in _secret_problems(row)
        ]

    def _make_dkim_keys(self) -> None:
        """The background task, done when somebody looks late enough."""
        for key, domain in list(self.tables.get("x:Domain", {}).items()):
            management = domain["dkimManagement"]
            due = not self.recovery and time.time() - domain["_born"] >= DKIM_DELAY and not domain.get("_dkim")
            if due and management["@type"] == "Automatic":
                domain["_dkim"] = True
                for algorithm in management.get("algorithms") or ("Dkim1Ed25519Sha256", "Dkim1RsaSha256"):
                    self._make_dkim_key(key, algorithm)

    def _make_dkim_key(self, domain: str, algorithm: str) -> None:
        curve = "Ed25519" in algorithm
        private = ed25519.Ed25519PrivateKey.generate() if curve else rsa.generate_private_key(65537, 2048)
        form = serialization.PublicFormat.Raw if curve else serialization.PublicFormat.SubjectPublicKeyInfo
        encoding = serialization.Encoding.Raw if curve else serialization.Encoding.DER
        public = base64.b64encode(private.public_key().public_bytes(encoding, form)).decode()
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        selector = f"v1-{'ed25519' if curve else 'rsa'}-{datetime.now(UTC):%Y%m%d}"
        body = {"@type": algorithm, "domainId": domain, "selector": selector}
        key = self.create("x:DkimSignature", {**body, "privateKey": {"@type": "Text", "secret": pem}}, None)["id"]
        self.rows("x:DkimSignature")[key]["publicKey"] = public


def _filter_fits(row: Row, field: str, value: Any) -> bool:
    if field == "text":
        return str(value).lower() in str(row).lower()
    stored = row.get(field)
    return value in stored if isinstance(stored, dict) else bool(stored == value)


def _mentions(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return any(name == key or _mentions(item, key) for name, item in value.items())
    return bool(value == key)


def _masked(value: Any) -> Any:
    """Secrets inside {"@type": "Value" | "Text" | "Password", "secret": ...} never leave."""
    if not isinstance(value, dict):
        return value
    return {
        name: MASK if name in ("secret", "bearerToken") and isinstance(item, str) else _masked(item)
        for name, item in value.items()
    }


def _secret_problems(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    if value.get("@type") in ("EnvironmentVariable", "File") and ("variableName" in value or "filePath" in value):
        try:
            resolve_secret(value, os.environ)
        except (KeyError, OSError) as error:
            return [f"cannot read secret {error}"]
    return [problem for item in value.values() for problem in _secret_problems(item)]


def known_objects() -> list[str]:
    return [name for name in schema()["objects"] if kind_of(name)]
