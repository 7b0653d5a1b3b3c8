"""Authentik blueprints checked without a server (method: upstream/authentik.md 9).

The server ignores unknown attributes and turns missing references into null, both silently, so the schema alone
is not enough: it is combined with the request models of `authentik-client` and with rules of our own.
"""

from __future__ import annotations

import importlib
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator
from pydantic import BaseModel, ValidationError

SCHEMA = Path(__file__).parents[1] / "data" / "authentik-blueprint-schema.json"
SECRETS = "/run/secrets/"
EMBEDDED = ("goauthentik.io/outposts/embedded", "authentik Embedded Outpost")
META = "authentik_blueprints.metaapplyblueprint"
SCOPES = "goauthentik.io/providers/oauth2/scope-"
TAGS = frozenset({
    "KeyOf", "Find", "FindObject", "Context", "Env", "File", "Format", "If", "Condition", "Enumerate", "Index",
    "Value", "AtIndex", "ParseJSON",
})  # fmt: skip
ENTRY_KEYS = frozenset({"model", "id", "identifiers", "attrs", "state", "conditions", "permissions"})
STATES = ("present", "created", "must_created", "absent")

REQUESTS = {
    "authentik_brands.brand": "Brand",
    "authentik_core.application": "Application",
    "authentik_core.group": "Group",
    "authentik_core.token": "Token",
    "authentik_core.user": "User",
    "authentik_crypto.certificatekeypair": "CertificateKeyPair",
    "authentik_flows.flow": "Flow",
    "authentik_flows.flowstagebinding": "FlowStageBinding",
    "authentik_outposts.outpost": "Outpost",
    "authentik_policies.policybinding": "PolicyBinding",
    "authentik_policies_expression.expressionpolicy": "ExpressionPolicy",
    "authentik_policies_password.passwordpolicy": "PasswordPolicy",
    "authentik_providers_ldap.ldapprovider": "LDAPProvider",
    "authentik_providers_oauth2.oauth2provider": "OAuth2Provider",
    "authentik_providers_oauth2.scopemapping": "ScopeMapping",
    "authentik_providers_proxy.proxyprovider": "ProxyProvider",
    "authentik_providers_saml.samlprovider": "SAMLProvider",
    "authentik_rbac.role": "Role",
    "authentik_stages_authenticator_static.authenticatorstaticstage": "AuthenticatorStaticStage",
    "authentik_stages_authenticator_validate.authenticatorvalidatestage": "AuthenticatorValidateStage",
    "authentik_stages_deny.denystage": "DenyStage",
    "authentik_stages_email.emailstage": "EmailStage",
    "authentik_stages_identification.identificationstage": "IdentificationStage",
    "authentik_stages_password.passwordstage": "PasswordStage",
    "authentik_stages_prompt.prompt": "Prompt",
    "authentik_stages_prompt.promptstage": "PromptStage",
    "authentik_stages_user_login.userloginstage": "UserLoginStage",
    "authentik_stages_user_write.userwritestage": "UserWriteStage",
}
BLUEPRINT_ONLY = {
    "authentik_core.application": {"icon"},
    "authentik_core.token": {"key"},
    "authentik_core.user": {"password", "password_hash", "permissions"},
    "authentik_rbac.role": {"permissions"},
}
UPSTREAM = frozenset({
    ("authentik_brands.brand", "domain", "authentik-default"),
    ("authentik_crypto.certificatekeypair", "name", "authentik Self-signed Certificate"),
    ("authentik_flows.flow", "slug", "default-authentication-flow"),
    ("authentik_flows.flow", "slug", "default-invalidation-flow"),
    ("authentik_flows.flow", "slug", "default-provider-authorization-implicit-consent"),
    ("authentik_flows.flow", "slug", "default-provider-invalidation-flow"),
    ("authentik_policies_password.passwordpolicy", "name", "default-password-change-password-policy"),
    ("authentik_stages_authenticator_static.authenticatorstaticstage", "name", "default-authenticator-static-setup"),
    ("authentik_stages_authenticator_totp.authenticatortotpstage", "name", "default-authenticator-totp-setup"),
    ("authentik_stages_authenticator_validate.authenticatorvalidatestage", "name",
     "default-authentication-mfa-validation"),
    ("authentik_stages_authenticator_webauthn.authenticatorwebauthnstage", "name",
     "default-authenticator-webauthn-setup"),
    ("authentik_stages_identification.identificationstage", "name", "default-authentication-identification"),
    ("authentik_stages_user_login.userloginstage", "name", "default-authentication-login"),
    *(("authentik_providers_oauth2.scopemapping", "managed", SCOPES + scope)
      for scope in ("openid", "email", "profile", "entitlements", "offline_access", "authentik_api")),
    *(("authentik_providers_saml.samlpropertymapping", "managed", f"goauthentik.io/providers/saml/{name}")
      for name in ("upn", "name", "email", "username", "uid", "groups", "ms-windowsaccountname")),
})  # fmt: skip
"""What a fresh 2026.8 has: may be looked up, and changed without naming every required field."""
UPSTREAM_BLUEPRINTS = frozenset({
    "Default - Brand", "Default - Authentication flow", "Default - Invalidation flow",
    "Default - Password change flow", "Default - Provider authorization flow (implicit consent)",
    "Default - Provider invalidation flow", "Default - Static MFA setup flow", "Default - TOTP MFA setup flow",
    "Default - WebAuthn MFA setup flow", "System - OAuth2 Provider - Scopes", "System - Proxy Provider - Scopes",
})  # fmt: skip


@dataclass(frozen=True)
class Tag:
    """A YAML tag like `!KeyOf`, not resolved: only the server can."""

    name: str
    value: Any


class Loader(yaml.SafeLoader):
    pass


def _tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Tag:
    if isinstance(node, yaml.ScalarNode):
        return Tag(suffix, loader.construct_scalar(node))
    if isinstance(node, yaml.SequenceNode):
        return Tag(suffix, loader.construct_sequence(node, deep=True))
    assert isinstance(node, yaml.MappingNode)
    return Tag(suffix, loader.construct_mapping(node, deep=True))


Loader.add_multi_constructor("!", _tag)


def load(text: str) -> dict[str, Any]:
    """A blueprint with its tags as `Tag` objects."""
    document = Loader(text).get_single_data()
    assert isinstance(document, dict)
    return document


def entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = document["entries"]
    return found if isinstance(found, list) else [entry for section in found.values() for entry in section]


@cache
def schema() -> dict[str, Any]:
    definitions: dict[str, Any] = json.loads(SCHEMA.read_text())["$defs"]
    return definitions


@cache
def request_model(model: str) -> type[BaseModel]:
    found: type[BaseModel] = getattr(importlib.import_module("authentik_client.models"), REQUESTS[model] + "Request")
    return found


def lint(files: Mapping[str, str], secrets: frozenset[str]) -> list[str]:
    """Every finding in a set of blueprints that are applied together, as `path: entry: what`."""
    documents = {path: load(text) for path, text in files.items()}
    known = Known(documents, secrets)
    found = [f"{path}: {what}" for path, document in documents.items() for what in _document(document, known)]
    return found + list(_together(documents))


class Known:
    """What a reference may point to."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]], secrets: frozenset[str]) -> None:
        every = [entry for document in documents.values() for entry in entries(document)]
        self.blueprints = UPSTREAM_BLUEPRINTS | {document["metadata"]["name"] for document in documents.values()}
        self.files = {SECRETS + name for name in secrets}
        own = {
            (entry.get("model"), field, value)
            for entry in every
            if entry.get("state") != "absent"
            for field, value in entry.get("identifiers", {}).items()
            if isinstance(value, str)
        }
        self.objects = UPSTREAM | own


def _document(document: Mapping[str, Any], known: Known) -> Iterator[str]:
    if document.get("version") != 1:
        yield "version must be 1"
    for key in document.keys() - {"version", "metadata", "context", "entries"}:
        yield f"unknown key `{key}`"
    ids: set[str] = set()
    for number, entry in enumerate(entries(document), 1):
        label = f"entry {number} ({entry.get('model')} {entry.get('identifiers', '')})"
        yield from (f"{label}: {what}" for what in _entry(entry, ids, known))
        if (name := entry.get("id")) in ids:
            yield f"{label}: id `{name}` is taken"
        ids |= {name} if name else set()


def _together(documents: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    names = [document["metadata"]["name"] for document in documents.values()]
    yield from (f"metadata.name `{name}` is used twice" for name in set(names) if names.count(name) > 1)
    owners = [path for path, document in documents.items() for entry in entries(document) if _is_embedded(entry)]
    if len(owners) > 1:
        yield f"the embedded outpost's list is replaced by each of {', '.join(owners)}: only one entry may set it"


def _is_embedded(entry: Mapping[str, Any]) -> bool:
    values = [*entry.get("identifiers", {}).values(), entry.get("attrs", {}).get("name")]
    return entry.get("model") == "authentik_outposts.outpost" and any(value in EMBEDDED for value in values)


def _entry(entry: Mapping[str, Any], ids: set[str], known: Known) -> Iterator[str]:
    model = entry.get("model", "")
    rules = schema().get(f"model_{model}")
    if rules is None:
        yield f"unknown model `{model}`"
        return
    yield from (f"unknown entry key `{key}`" for key in entry.keys() - ENTRY_KEYS)
    if entry.get("state", "present") not in STATES:
        yield f"unknown state `{entry['state']}`"
    yield from _references(entry, ids, known)
    if model == META:
        yield from _dependency(entry, known)
    elif not entry.get("identifiers"):
        yield "identifiers are missing"
    else:
        yield from _data(entry, rules)
        yield from _own_rules(entry)


def _dependency(entry: Mapping[str, Any], known: Known) -> Iterator[str]:
    name = entry.get("attrs", {}).get("identifiers", {}).get("name")
    if name not in known.blueprints:
        yield f"depends on the unknown blueprint `{name}`"


def _tags(value: object) -> Iterator[Tag]:
    if isinstance(value, Tag):
        yield value
        yield from _tags(value.value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tags(item)
    elif isinstance(value, list):
        for item in value:
            yield from _tags(item)


def _references(entry: Mapping[str, Any], ids: set[str], known: Known) -> Iterator[str]:
    for tag in _tags(entry):
        if tag.name not in TAGS:
            yield f"unknown tag !{tag.name}"
        elif tag.name == "KeyOf" and tag.value not in ids:
            yield f"!KeyOf {tag.value}: no earlier entry has this id"
        elif tag.name == "File" and tag.value not in known.files:
            yield f"!File {tag.value}: not a secret of Authentik's containers, would give null"
        elif tag.name in {"Find", "FindObject"}:
            yield from _lookup(tag, known)


def _lookup(tag: Tag, known: Known) -> Iterator[str]:
    model, *conditions = tag.value
    for field, value in conditions:
        computed = isinstance(value, Tag) and (model, field) == ("authentik_core.token", "identifier")
        if not computed and (model, field, value) not in known.objects:
            yield f"!{tag.name} {model} {field}={value}: not on the list of what exists, would give null"


def _data(entry: Mapping[str, Any], rules: Mapping[str, Any]) -> Iterator[str]:
    """Steps 3 to 6: attributes merged with identifiers against the schema and the request model."""
    model = entry["model"]
    properties = rules["properties"]
    raw = {**entry.get("attrs", {}), **entry["identifiers"]}
    yield from (f"unknown attribute `{key}`" for key in raw.keys() - properties.keys() - {"pk", "managed"})
    data = {key: _filled(value, properties.get(key, {})) for key, value in raw.items()}
    for error in Draft7Validator(dict(rules)).iter_errors(data):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    if model not in REQUESTS:
        yield "no request model is known: add it to the linter"
    elif entry.get("state") != "absent":
        yield from _request_errors(entry, data)


def _request_errors(entry: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[str]:
    model = entry["model"]
    exists = any((model, field, str(value)) in UPSTREAM for field, value in entry["identifiers"].items())
    sent = {key: value for key, value in data.items() if key not in BLUEPRINT_ONLY.get(model, set())}
    try:
        request_model(model).model_validate(sent)
    except ValidationError as error:
        for detail in error.errors():
            if not (exists and detail["type"] == "missing"):
                yield f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"


def _filled(value: object, rules: Mapping[str, Any]) -> object:
    """The value with each tag replaced by something that fits its place."""
    if isinstance(value, Tag):
        return _dummy(rules)
    if isinstance(value, list):
        return [_filled(item, rules.get("items", {})) for item in value]
    if isinstance(value, Mapping):
        return {key: _filled(item, rules.get("properties", {}).get(key, {})) for key, item in value.items()}
    return value


def _dummy(rules: Mapping[str, Any]) -> object:
    if "enum" in rules:
        return rules["enum"][0]
    kinds = rules.get("type", "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    texts = {"uuid": "00000000-0000-4000-8000-000000000000", "email": "someone@acme.example"}
    text = texts.get(rules.get("format", ""), "text")
    return {"integer": 1, "boolean": True, "array": [], "object": {}}.get(kind, text)


def _own_rules(entry: Mapping[str, Any]) -> Iterator[str]:
    for grant in entry.get("permissions", []):
        if "." not in str(grant.get("permission", "")):
            yield f"permission `{grant.get('permission')}` must be written app_label.codename"
    if entry.get("state") == "absent":
        if entry["model"] == "authentik_flows.flowstagebinding":
            yield "cannot be removed when it is not there: bind a policy that says no"
        return
    data = {**entry.get("attrs", {}), **entry["identifiers"]}
    match entry["model"]:
        case "authentik_providers_oauth2.oauth2provider":
            yield from _oauth2(data)
        case "authentik_providers_proxy.proxyprovider":
            yield from _proxy(data)
        case "authentik_providers_saml.samlprovider":
            yield from _saml(data)
        case "authentik_core.token":
            yield from _token(data)
        case "authentik_policies.policybinding" if len({"group", "user", "policy"} & data.keys()) != 1:
            yield "needs exactly one of group, user, policy"
    yield from _expression(data.get("expression"))


def _oauth2(data: Mapping[str, Any]) -> Iterator[str]:
    if not data.get("grant_types"):
        yield "grant_types is empty: every login would end with invalid_request"
    if not data.get("signing_key"):
        yield "signing_key is missing: tokens would be signed HS256 with the client secret"
    if not data.get("property_mappings"):
        yield "property_mappings is empty: no claims at all"


def _proxy(data: Mapping[str, Any]) -> Iterator[str]:
    if "mode" not in data:
        yield "mode is missing: the server would assume `proxy` and demand internal_host"
    for line in str(data.get("skip_path_regex", "")).splitlines():
        try:
            re.compile(line)
        except re.error as error:
            yield f"skip_path_regex `{line}`: {error}"


def _saml(data: Mapping[str, Any]) -> Iterator[str]:
    if not data.get("signing_kp"):
        yield "signing_kp is missing: anybody could say who somebody is"
    elif not (data.get("sign_assertion") or data.get("sign_response")):
        yield "a key, but nothing to sign: the server refuses that, whatever its default"
    if not data.get("property_mappings"):
        yield "property_mappings is empty: the app would learn nothing of a person"


def _token(data: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{key} is missing" for key in ("user", "intent", "key") if key not in data)
    if data.get("expiring") is not False:
        yield "expiring must be false: the key would change by itself"


def _expression(code: object) -> Iterator[str]:
    if not isinstance(code, str):
        return
    try:
        compile("def handler():\n" + textwrap.indent(code, "    "), "expression", "exec")
    except SyntaxError as error:
        yield f"expression is not Python: {error.msg} (line {(error.lineno or 1) - 1})"
