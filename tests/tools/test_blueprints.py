"""The blueprints are complete and valid, and the linter would notice if they were not."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace
from typing import Any

import pytest

from kmuctl.model.secrets import Placeholders
from kmuctl.model.service import Proxy, Service
from kmuctl.model.stack import build
from kmuctl.operations.render import render
from kmuctl.services import CATALOG
from tests.support import AWKWARD_NAME, rendered, stack
from tests.tools.blueprint_lint import Tag, entries, lint, load

ADMIN = {"username": "mm", "name": AWKWARD_NAME, "email": "max@acme.example"}
SITES: dict[str, dict[str, Any]] = {
    "core": {},
    "English": {"language": "en"},
    "second factor": {"sso": {"mfa": "required"}},
    "awkward name": {"name": AWKWARD_NAME, "admin": ADMIN},
    "only the essentials": {
        "apps": dict.fromkeys(("nextcloud", "synapse", "element", "jitsi", "dozzle", "panel", "usersync"), False)
    },
    "extra site": {"sites": {"wiki": {"upstream": "wiki:80"}, "open": {"upstream": "open:80", "login": False}}},
}
OIDC, PROXY = "authentik_providers_oauth2.oauth2provider", "authentik_providers_proxy.proxyprovider"
OUTPOST, BINDING = "authentik_outposts.outpost", "authentik_policies.policybinding"


def blueprints(**changes: object) -> dict[str, str]:
    return {path: text for path, text in rendered(**changes).items() if path.startswith("blueprints/")}


def secrets(**changes: object) -> frozenset[str]:
    of_this_site = stack(**changes)
    return of_this_site.readable(of_this_site["authentik"])


def every(model: str, state: str = "present", /, **changes: object) -> list[dict[str, Any]]:
    documents = [load(text) for text in blueprints(**changes).values()]
    found = [entry for document in documents for entry in entries(document) if entry["model"] == model]
    return [entry for entry in found if (entry.get("state") == "absent") == (state == "absent")]


def named(model: str, /, **changes: object) -> dict[str, dict[str, Any]]:
    """Attributes by the one identifier."""
    return {str(*entry["identifiers"].values()): entry.get("attrs", {}) for entry in every(model, **changes)}


def embedded(**changes: object) -> dict[str, Any]:
    return named(OUTPOST, **changes)["goauthentik.io/outposts/embedded"]


@pytest.mark.parametrize("changes", SITES.values(), ids=SITES)
def test_the_blueprints_are_valid(changes: dict[str, Any]) -> None:
    assert lint(blueprints(**changes), secrets(**changes)) == []


def test_every_login_has_a_provider_and_an_application() -> None:
    """L9, U24, U33."""
    logins = stack().logins()
    assert set(named(OIDC)) == {service.name for service in logins if service.login and service.login.kind == "oidc"}
    assert set(named(PROXY)) == {service.name for service in stack().protected()}
    assert set(named("authentik_core.application")) == {service.name for service in logins} | {"ldap"}


def test_every_proxy_provider_is_on_the_embedded_outpost() -> None:
    """K39."""
    wanted = [Tag("KeyOf", f"{service.name}-provider") for service in stack().protected()]
    assert embedded()["providers"] == wanted
    assert embedded()["config"]["authentik_host"] == "https://auth.acme.example"
    assert {attrs["external_host"] for attrs in named(PROXY).values()} == {
        stack().site.url(service.login_host) for service in stack().protected()
    }


def test_without_proxied_services_the_outpost_is_empty() -> None:
    assert embedded(**SITES["only the essentials"])["providers"] == []


def test_an_extra_site_with_login_is_protected() -> None:
    assert Tag("KeyOf", "site-wiki-provider") in embedded(**SITES["extra site"])["providers"]
    assert "site-open" not in named(PROXY, **SITES["extra site"])


def test_what_is_switched_off_is_removed() -> None:
    removed = every("authentik_core.application", "absent", **SITES["only the essentials"])
    slugs = {entry["identifiers"]["slug"] for entry in removed}
    assert slugs == {service.name for service in stack().logins()}
    assert not every("authentik_core.application", "absent")


def test_an_app_that_is_new_in_the_catalog_is_removed_too() -> None:
    """No list of apps beside the catalog's own."""
    drawio = Service(name="drawio", title="draw.io", containers=(), login=Proxy())
    off = stack().site.model_copy(update={"apps": {"drawio": False}})
    text = render(build(off, (*CATALOG, drawio)), Placeholders()).files["blueprints/20-logins.yaml"].content.decode()
    removed = [entry for entry in entries(load(text)) if entry.get("state") == "absent" and entry["model"] != BINDING]
    assert [entry["model"] for entry in removed] == ["authentik_core.application", PROXY]
    assert [entry["identifiers"] for entry in removed] == [{"slug": "drawio"}, {"name": "drawio"}]


def groups_of(application: str, state: str) -> set[str]:
    found = [entry for entry in every(BINDING, state) if entry["identifiers"]["target"].value == application]
    return {f"kmu-{entry['attrs']['group'].value}" for entry in found}


@pytest.mark.parametrize("service", stack().logins(), ids=lambda service: service.name)
def test_people_use_apps_and_administrators_use_everything(service: Service) -> None:
    people = set() if service.admins_only else {"kmu-users"}
    assert groups_of(f"{service.name}-application", "present") == {"kmu-admins"} | people
    assert groups_of(f"{service.name}-application", "absent") == {"kmu-users"} - people


def test_only_administrators_are_superusers() -> None:
    assert named("authentik_core.group") == {"kmu-users": {}, "kmu-admins": {"is_superuser": True}}


def test_free_text_survives() -> None:
    changes = SITES["awkward name"]
    assert named("authentik_brands.brand", **changes)["authentik-default"]["branding_title"] == AWKWARD_NAME
    assert named("authentik_core.user", **changes)["mm"]["name"] == AWKWARD_NAME
    stages = named("authentik_stages_email.emailstage", **changes)
    assert stages["kmu-recovery-email"]["subject"] == f"Neues Passwort für {AWKWARD_NAME}"


def test_the_first_admin_is_created_once() -> None:
    [admin] = [entry for entry in every("authentik_core.user") if entry["identifiers"]["username"] == "mmustermann"]
    assert admin["state"] == "created"
    assert "password" not in admin["attrs"]
    assert admin["attrs"]["groups"] == [Tag("KeyOf", "users"), Tag("KeyOf", "admins")]


REQUIRED = {"sso": {"mfa": "required"}}
VALIDATE = "authentik_stages_authenticator_validate.authenticatorvalidatestage"
EXPRESSION = "authentik_policies_expression.expressionpolicy"


@pytest.mark.parametrize(("changes", "action"), [({}, "skip"), (REQUIRED, "configure")])
def test_a_second_factor_is_set_up_where_it_is_required(changes: dict[str, Any], action: str) -> None:
    """An authenticator app or a passkey; recovery codes alone are none."""
    sign_on = named(VALIDATE, **changes)["default-authentication-mfa-validation"]
    assert sign_on["not_configured_action"] == action
    assert [tag.value[1][1] for tag in sign_on["configuration_stages"]] == [
        "default-authenticator-totp-setup", "default-authenticator-webauthn-setup",
    ]  # fmt: skip
    signs_in = named(EXPRESSION, **changes)["kmu-recovery-signs-in"]["expression"]
    assert signs_in == ("return True" if action == "skip" else "return False")


@pytest.mark.parametrize("changes", [{}, REQUIRED], ids=["optional", "required"])
def test_the_directory_asks_for_no_second_factor_and_no_browser_in(changes: dict[str, Any]) -> None:
    """K38: a flow of its own, for outposts alone."""
    flow = named("authentik_flows.flow", **changes)["kmu-directory"]
    assert flow["authentication"] == "require_outpost"
    bindings = [entry["identifiers"] for entry in every("authentik_flows.flowstagebinding", **changes)]
    stages = [one["stage"].value for one in bindings if one["target"] == Tag("KeyOf", "bind-flow")]
    assert stages == ["bind-identification", "bind-password", "bind-login"]
    assert named("authentik_providers_ldap.ldapprovider", **changes)["ldap"]["authorization_flow"].value == "bind-flow"


def test_a_forgotten_password_is_mailed_only_where_mail_is_sent() -> None:
    """U1, L20: through the stack's own server, as noreply, or through the relay."""
    stage = "authentik_stages_identification.identificationstage", "default-authentication-identification"
    without = {"apps": {"stalwart": False}}
    assert named(stage[0])[stage[1]]["recovery_flow"] == Tag("KeyOf", "recovery")
    assert named(stage[0], **without)[stage[1]]["recovery_flow"] is None
    assert "AUTHENTIK_EMAIL__HOST: mail.acme.example" in rendered()["compose.yaml"].replace('"', "")
    assert "AUTHENTIK_EMAIL" not in rendered(**without)["compose.yaml"]
    through_relay = without | {"mail": {"relay": {"host": "smtp.provider.example", "username": "acme"}}}
    assert named(stage[0], **through_relay)[stage[1]]["recovery_flow"] == Tag("KeyOf", "recovery")


def test_open_paths_of_a_proxied_app_are_exact() -> None:
    lines = named(PROXY)["element"]["skip_path_regex"].splitlines()
    assert r"^/config\.json$" in lines
    assert r"^/bundles/" in lines
    assert named(PROXY)["panel"]["skip_path_regex"] == ""


def test_recovery_starts_from_the_sign_in_page_with_our_mail() -> None:
    """U1."""
    stage = named("authentik_stages_email.emailstage")["kmu-recovery-email"]
    assert f"authentik/mail/{stage['template']}" in rendered()
    assert f"authentik/mail/{stage['template'].replace('html', 'txt')}" in rendered()
    assert named("authentik_brands.brand")["authentik-default"]["flow_recovery"] == Tag("KeyOf", "recovery")
    sign_in = named("authentik_stages_identification.identificationstage")["default-authentication-identification"]
    assert sign_in["recovery_flow"] == Tag("KeyOf", "recovery")


@pytest.mark.parametrize("language", ["de", "en"])
@pytest.mark.parametrize("kind", ["html", "txt"])
def test_the_mail_is_a_django_template_with_a_harmless_name(kind: str, language: str) -> None:
    """U1, U2, U5: the links lead to the public name."""
    text = rendered(name=AWKWARD_NAME, language=language)[f"authentik/mail/kmu_recovery.{kind}"]
    assert "{{ url }}" in text
    assert "7*7" in text
    assert "{{ 7*7 }}" not in text
    assert "localhost" not in text
    assert "https://auth.acme.example" in text
    assert ("Guten Tag" if language == "de" else "Hello") in text


def nextcloud_claims(groups: list[str], **attributes: object) -> dict[str, Any]:
    [mapping] = every("authentik_providers_oauth2.scopemapping")
    code = "def claims(request):\n" + textwrap.indent(mapping["attrs"]["expression"], "    ")
    names = [SimpleNamespace(name=name) for name in groups]
    user = SimpleNamespace(
        username="max",
        name="Max",
        groups=SimpleNamespace(all=lambda: names),
        group_attributes=lambda: attributes,
    )
    space: dict[str, Any] = {}
    exec(code, space)  # noqa: S102
    found: dict[str, Any] = space["claims"](SimpleNamespace(user=user))
    return found


def test_nextcloud_sees_our_groups_and_admin_only_for_administrators() -> None:
    assert nextcloud_claims(["kmu-users", "admin", "other"])["groups"] == ["kmu-users"]
    assert nextcloud_claims(["kmu-users", "kmu-admins"])["groups"] == ["kmu-users", "kmu-admins", "admin"]
    assert nextcloud_claims([])["user_id"] == "max"


@pytest.mark.parametrize(
    ("value", "quota"), [("5 GB", "5 GB"), (1073741824, "1073741824"), ("much", "default"), (None, "default")]
)
def test_nextcloud_gets_a_quota_that_it_can_read(value: object, quota: str) -> None:
    assert nextcloud_claims([], nextcloud_quota=value)["quota"] == quota
    assert nextcloud_claims([])["quota"] == "default"


def test_no_other_mapping_adds_groups_for_nextcloud() -> None:
    mappings = named(OIDC)["nextcloud"]["property_mappings"]
    scopes = [tag.value[1][1].rpartition("scope-")[2] for tag in mappings if tag.name == "Find"]
    assert scopes == ["openid", "email"]
    assert not every("authentik_providers_oauth2.scopemapping", apps={"nextcloud": False})


PROVIDER = """
version: 1
metadata: {name: broken}
entries:
  - model: authentik_providers_oauth2.oauth2provider
    id: p
    identifiers: {name: p}
    attrs:
      client_type: confidential
      client_secret: !File /run/secrets/known
      grant_types: [authorization_code]
      authorization_flow: !Find [authentik_flows.flow, [slug, default-provider-authorization-implicit-consent]]
      invalidation_flow: !Find [authentik_flows.flow, [slug, default-provider-invalidation-flow]]
      signing_key: !Find [authentik_crypto.certificatekeypair, [name, authentik Self-signed Certificate]]
      redirect_uris: [{matching_mode: strict, url: "https://a.example/x"}]
      property_mappings:
        - !Find [authentik_providers_oauth2.scopemapping, [managed, goauthentik.io/providers/oauth2/scope-openid]]
  - model: authentik_core.application
    id: a
    identifiers: {slug: a}
    attrs: {name: A, provider: !KeyOf p}
  - {model: authentik_core.group, id: g, identifiers: {name: g}}
  - model: authentik_policies.policybinding
    identifiers: {target: !KeyOf a, order: 0}
    attrs: {group: !KeyOf g}
  - model: authentik_rbac.role
    id: r
    identifiers: {name: r}
    attrs: {}
  - model: authentik_core.token
    identifiers: {identifier: t}
    attrs: {user: 1, intent: api, expiring: false, key: !File /run/secrets/known}
  - model: authentik_providers_proxy.proxyprovider
    identifiers: {name: x}
    attrs:
      mode: forward_single
      external_host: https://x.example
      skip_path_regex: ^/x$
      authorization_flow: !Find [authentik_flows.flow, [slug, default-provider-authorization-implicit-consent]]
      invalidation_flow: !Find [authentik_flows.flow, [slug, default-provider-invalidation-flow]]
  - model: authentik_providers_oauth2.scopemapping
    identifiers: {name: m}
    attrs: {scope_name: m, expression: "return {}"}
"""
FLOW = "_flow: !Find [authentik_flows.flow, [slug, default-provider-invalidation-flow]]"
CERTIFICATE = "!Find [authentik_crypto.certificatekeypair, [name, authentik Self-signed Certificate]]"
SCOPE = "!Find [authentik_providers_oauth2.scopemapping"
BROKEN = {
    "unknown attribute": ("client_type:", "token_validity: days=1\n      client_type:", "unknown attribute `token_val"),
    "unknown launch url": ("{name: A,", "{name: A, launch_url: x,", "unknown attribute `launch_url`"),
    "missing required": ("name: A, ", "", "name: Field required"),
    "missing flow": (f"      invalidation{FLOW}\n", "", "invalidation_flow: Field required"),
    "bad enum": ("confidential", "secret", "client_type"),
    "wrong type": ("[{matching_mode: strict, url: \"https://a.example/x\"}]", "[https://a.example/x]", "redirect_uris"),
    "bad slug": ("{slug: a}", "{slug: a b}", "slug"),
    "bad uuid": ("attrs: {group: !KeyOf g}", "attrs: {group: users}", "group"),
    "empty grant types": ("[authorization_code]", "[]", "grant_types is empty"),
    "no grant types": ("      grant_types: [authorization_code]\n", "", "grant_types is empty"),
    "no signing key": (f"      signing_key: {CERTIFICATE}\n", "", "signing_key is missing"),
    "no mappings": ("property_mappings:", "jwt_federation_sources:", "property_mappings is empty"),
    "short permission": ("attrs: {}", "permissions: [{permission: view_role, role: !KeyOf g}]", "app_label.codename"),
    "unknown model": ("authentik_rbac.role", "authentik_rbac.rolle", "unknown model"),
    "undefined KeyOf": ("!KeyOf p", "!KeyOf q", "!KeyOf q: no earlier entry"),
    "KeyOf of a later entry": (f"- {SCOPE}", f"- !KeyOf a\n        - {SCOPE}", "!KeyOf a: no earlier"),
    "unknown Find": ("scope-openid", "scope-opened", "not on the list of what exists"),
    "unknown certificate": ("authentik Self-signed", "authentik self-signed", "not on the list of what exists"),
    "unknown secret": ("secret: !File /run/secrets/known", "secret: !File /run/secrets/unknown", "not a secret"),
    "unknown tag": ("!KeyOf p", "!Key p", "unknown tag !Key"),
    "id used twice": ("id: a", "id: p", "is taken"),
    "unknown entry key": ("identifiers: {slug: a}", "identifiers: {slug: a}\n    attributes: {}", "unknown entry key"),
    "unknown document key": ("version: 1", "version: 1\nblueprint: x", "unknown key `blueprint`"),
    "wrong version": ("version: 1", "version: 2", "version must be 1"),
    "no identifiers": ("    identifiers: {slug: a}\n", "", "identifiers are missing"),
    "unknown state": ("identifiers: {slug: a}", "identifiers: {slug: a}\n    state: gone", "unknown state"),
    "two in a binding": ("{group: !KeyOf g}", "{group: !KeyOf g, user: 1}", "exactly one"),
    "none in a binding": ("{group: !KeyOf g}", "{enabled: true}", "exactly one"),
    "expiring token": ("expiring: false, ", "", "expiring must be false"),
    "token without a user": ("user: 1, ", "", "user is missing"),
    "proxy without a mode": ("      mode: forward_single\n", "", "mode is missing"),
    "bad path pattern": ("^/x$", "'^/x('", "skip_path_regex"),
    "bad Python": ("return {}", "return {", "expression is not Python"),
    "two owners of the outpost": ("  - model: authentik_providers_oauth2.scopemapping", """
  - model: authentik_outposts.outpost
    identifiers: {managed: goauthentik.io/outposts/embedded}
    attrs: {name: authentik Embedded Outpost, type: proxy, providers: [], config: {}}
  - model: authentik_outposts.outpost
    identifiers: {name: authentik Embedded Outpost}
    attrs: {type: proxy, providers: [], config: {}}
  - model: authentik_providers_oauth2.scopemapping""", "only one entry may set it"),
    "removal of a stage's binding": ("  - model: authentik_providers_oauth2.scopemapping", """
  - model: authentik_flows.flowstagebinding
    state: absent
    identifiers: {target: x, stage: y, order: 1}
  - model: authentik_providers_oauth2.scopemapping""", "cannot be removed"),
    "unknown dependency": ("entries:", """entries:
  - model: authentik_blueprints.metaapplyblueprint
    attrs: {identifiers: {name: Default - Brands}, required: true}""", "unknown blueprint"),
}  # fmt: skip


def test_the_example_without_mistakes_is_clean() -> None:
    assert lint({"a.yaml": PROVIDER}, frozenset({"known"})) == []


@pytest.mark.parametrize(("good", "bad", "finding"), BROKEN.values(), ids=BROKEN)
def test_a_mistake_is_found(good: str, bad: str, finding: str) -> None:
    assert good in PROVIDER
    found = lint({"a.yaml": PROVIDER.replace(good, bad, 1)}, frozenset({"known"}))
    assert any(finding in line for line in found), found


def test_names_are_unique_over_all_files() -> None:
    found = lint({"a.yaml": PROVIDER, "b.yaml": PROVIDER}, frozenset({"known"}))
    assert "metadata.name `broken` is used twice" in found
