"""Whether the objects inside Authentik still are as our blueprints say: its status of a blueprint does not show that.

What is compared follows from the blueprints themselves: each entry's object is found by its identifiers, and each value
that can be known here is compared with what Authentik says. Objects that no blueprint names are nobody's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secret
from kmuctl.model.step import Drift, Step
from kmuctl.operations.authentik.api import Api, Row, not_serving
from kmuctl.operations.authentik.blueprints import apply_now, pending
from kmuctl.operations.authentik.document import Entry, Tag, entries

LISTS = {
    "authentik_brands.brand": "core/brands/",
    "authentik_core.application": "core/applications/?superuser_full_list=true",
    "authentik_core.group": "core/groups/?include_users=false",
    "authentik_core.token": "core/tokens/?expiring=false",
    "authentik_core.user": "core/users/?type=service_account&include_groups=false",
    "authentik_crypto.certificatekeypair": "crypto/certificatekeypairs/?include_details=false",
    "authentik_flows.flow": "flows/instances/",
    "authentik_flows.flowstagebinding": "flows/bindings/",
    "authentik_outposts.outpost": "outposts/instances/",
    "authentik_policies.policybinding": "policies/bindings/",
    "authentik_policies_expression.expressionpolicy": "policies/expression/",
    "authentik_policies_password.passwordpolicy": "policies/password/",
    "authentik_providers_ldap.ldapprovider": "providers/ldap/",
    "authentik_providers_oauth2.oauth2provider": "providers/oauth2/",
    "authentik_providers_oauth2.scopemapping": "propertymappings/provider/scope/",
    "authentik_providers_proxy.proxyprovider": "providers/proxy/",
    "authentik_rbac.role": "rbac/roles/",
    "authentik_stages_authenticator_static.authenticatorstaticstage": "stages/authenticator/static/",
    "authentik_stages_authenticator_totp.authenticatortotpstage": "stages/authenticator/totp/",
    "authentik_stages_authenticator_validate.authenticatorvalidatestage": "stages/authenticator/validate/",
    "authentik_stages_authenticator_webauthn.authenticatorwebauthnstage": "stages/authenticator/webauthn/",
    "authentik_stages_deny.denystage": "stages/deny/",
    "authentik_stages_email.emailstage": "stages/email/",
    "authentik_stages_identification.identificationstage": "stages/identification/",
    "authentik_stages_password.passwordstage": "stages/password/",
    "authentik_stages_prompt.prompt": "stages/prompt/prompts/",
    "authentik_stages_prompt.promptstage": "stages/prompt/stages/",
    "authentik_stages_user_login.userloginstage": "stages/user_login/",
    "authentik_stages_user_write.userwritestage": "stages/user_write/",
}
"""Where Authentik lists the objects of a model. People are not among them: who is in the company is not ours."""
APPLICATION, BINDING = "authentik_core.application", "authentik_policies.policybinding"
AT_ONCE = 4
SECRETS = "/run/secrets/"
Lists = Mapping[str, list[Row]]


def settings_step(own: Mapping[str, bytes], api: Api, secrets: Mapping[str, Secret], *, after: tuple[str, ...]) -> Step:
    """Nobody and nothing has changed our objects since the blueprints were applied."""
    documents = {name: entries(content) for name, content in own.items()}

    def changes(lists: Lists) -> dict[str, str]:
        firsts = {name: next(differences(document, lists, secrets), "") for name, document in documents.items()}
        return {name: first for name, first in firsts.items() if first}

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        late, lists = pending(own, api, host), _lists(api, host, documents)
        if by_hand := [first for name, first in changes(lists).items() if name not in late]:
            return Drift(by_hand[0])
        if late:
            return Drift(f"can be seen when `{late[0]}` is applied", unknown=True)
        wider = [found for document in documents.values() for found in strangers(document, lists, secrets)]
        return Drift(wider[0], tolerable=True) if wider else None

    def apply(host: Host) -> None:
        for name in changes(_lists(api, host, documents)):
            apply_now(host, name)

    return Step(
        name="authentik:settings", check=check, apply=apply, after=after, deadline=30,
        hint="what stands in the blueprints is kmuctl's: docs/design.md, \"Settings that are ours\"",
    )  # fmt: skip


def _lists(api: Api, host: Reader, documents: Mapping[str, list[Entry]]) -> Lists:
    """Every list that is needed, once; some at a time, because Authentik takes its while over each."""
    named = {model for document in documents.values() for entry in document for model in _models(entry)}
    wanted = sorted(named & LISTS.keys())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda model: api.rows(host, LISTS[model]), wanted)
        return dict(zip(wanted, found, strict=True))


def _models(entry: Entry) -> Iterator[str]:
    yield entry.model
    yield from (
        tag.value[0] for tag in _tags([*entry.identifiers.values(), *entry.attrs.values()]) if tag.name == "Find"
    )


def _tags(value: Any) -> Iterator[Tag]:
    if isinstance(value, Tag):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tags(item)


def differences(document: list[Entry], lists: Lists, secrets: Mapping[str, Secret]) -> Iterator[str]:
    """In words, what is not as the blueprint says."""
    view = _View(lists, secrets)
    for entry, row in view.matched(document):
        if entry.state == "present":
            yield from view.compare(entry, row)
        elif entry.state == "absent" and row is not None:
            yield f"{entry.name} is still there"


def strangers(document: list[Entry], lists: Lists, secrets: Mapping[str, Secret]) -> Iterator[str]:
    """In words, what somebody else bound to our applications: one that fits is enough to be let in."""
    rows = [(entry.model, row) for entry, row in _View(lists, secrets).matched(document) if row]
    ours = {row["pk"] for model, row in rows if model == BINDING}
    slugs = {row["pk"]: row["slug"] for model, row in rows if model == APPLICATION}
    for row in lists.get(BINDING, ()):
        if row["target"] in slugs and row["pk"] not in ours:
            slug = slugs[row["target"]]
            yield f"who may open `{slug}` is not kmuctl's alone to say: Authentik has more bindings of that application"


class _Unknown:
    """Stands for what cannot be known from here, and agrees with everything."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """The keys under which others may name an object; none for an object that does not exist."""

    keys: tuple[str, ...]


@dataclass(slots=True)
class _View:
    lists: Lists
    secrets: Mapping[str, Secret]
    known: dict[str, Row] = field(default_factory=dict)
    """Objects by the ids of their entries."""

    def matched(self, document: Iterable[Entry]) -> Iterator[tuple[Entry, Row | None]]:
        """Each entry that can be looked up, with its object."""
        for entry in document:
            if entry.model not in self.lists or self.open(entry.identifiers):
                continue
            row = self.find(entry.model, entry.identifiers)
            if row is not None and entry.id:
                self.known[entry.id] = row
            yield entry, row

    def open(self, identifiers: Mapping[str, Any]) -> bool:
        return any(isinstance(self.resolve(value), _Unknown) for value in identifiers.values())

    def find(self, model: str, identifiers: Mapping[str, Any]) -> Row | None:
        wanted = {name: self.resolve(value) for name, value in identifiers.items()}
        rows = self.lists[model]
        return next((row for row in rows if all(_agree(wanted[name], row.get(name)) for name in wanted)), None)

    def compare(self, entry: Entry, row: Row | None) -> Iterator[str]:
        if row is None:
            yield f"{entry.name} is missing"
            return
        for name, value in entry.attrs.items():
            # what Authentik does not show (the key of a token) cannot be compared
            if name in row and not _agree(self.resolve(value), row[name]):
                yield f"{entry.name} has another `{name}`"

    def resolve(self, value: Any) -> Any:
        if isinstance(value, Tag):
            resolve = self._resolvers().get(value.name)
            return resolve(value.value) if resolve else _Unknown()
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        return value

    def _resolvers(self) -> dict[str, Callable[[Any], Any]]:
        return {"KeyOf": self._key_of, "Find": self._found, "File": self._file}

    def _key_of(self, name: str) -> Any:
        return _reference(self.known[name]) if name in self.known else _Unknown()

    def _found(self, value: list[Any]) -> Any:
        model, *conditions = value
        return _reference(self.find(model, dict(conditions))) if model in self.lists else _Unknown()

    def _file(self, path: str) -> Any:
        name = path.removeprefix(SECRETS)
        return self.secrets[name].reveal() if name in self.secrets else _Unknown()


def _reference(row: Row | None) -> _Reference:
    """A binding names its target by another key than everybody else does."""
    keys = (row["pk"], row.get("policybindingmodel_ptr_id")) if row else ()
    return _Reference(tuple(str(key) for key in keys if key is not None))


def _agree(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, _Unknown):
        return True
    if isinstance(wanted, _Reference):
        return str(actual) in wanted.keys
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(_agree(value, actual.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(actual, list) and _same(wanted, actual)
    if isinstance(wanted, str) and isinstance(actual, str):
        return wanted.strip() == actual.strip()
    return bool(wanted == actual)


def _same(wanted: list[Any], actual: list[Any]) -> bool:
    """Each of one has its own in the other; Authentik keeps no order among references."""
    left = list(actual)
    for value in wanted:
        match = next((index for index, item in enumerate(left) if _agree(value, item)), None)
        if match is None:
            return False
        del left[match]
    return not left
