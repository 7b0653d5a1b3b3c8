"""What a fresh installation contains before anybody applies a blueprint."""

import secrets
import time
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .accounts import hash_password
from .settings import Settings
from .store import Row, Rows

FLOWS = {
    "default-authentication-flow": "authentication",
    "default-invalidation-flow": "invalidation",
    "default-provider-invalidation-flow": "invalidation",
    "default-provider-authorization-implicit-consent": "authorization",
    "default-provider-authorization-explicit-consent": "authorization",
    "default-user-settings-flow": "stage_configuration",
    "default-password-change": "stage_configuration",
    "default-authenticator-totp-setup": "stage_configuration",
    "default-authenticator-static-setup": "stage_configuration",
    "default-authenticator-webauthn-setup": "stage_configuration",
    "default-source-authentication": "authentication",
    "default-source-enrollment": "enrollment",
    "default-source-pre-authentication": "stage_configuration",
    "initial-setup": "stage_configuration",
}
STAGES = {
    "default-authentication-identification": "authentik_stages_identification.identificationstage",
    "default-authentication-password": "authentik_stages_password.passwordstage",
    "default-authentication-mfa-validation": "authentik_stages_authenticator_validate.authenticatorvalidatestage",
    "default-authentication-login": "authentik_stages_user_login.userloginstage",
    "default-authenticator-totp-setup": "authentik_stages_authenticator_totp.authenticatortotpstage",
    "default-authenticator-static-setup": "authentik_stages_authenticator_static.authenticatorstaticstage",
    "default-authenticator-webauthn-setup": "authentik_stages_authenticator_webauthn.authenticatorwebauthnstage",
    "default-invalidation-logout": "authentik_stages_user_logout.userlogoutstage",
    "default-password-change-prompt": "authentik_stages_prompt.promptstage",
    "default-password-change-write": "authentik_stages_user_write.userwritestage",
    "default-user-settings": "authentik_stages_prompt.promptstage",
    "default-user-settings-write": "authentik_stages_user_write.userwritestage",
}
PROMPTS = {
    "default-password-change-field-password": ("password", "password"),
    "default-password-change-field-password-repeat": ("password_repeat", "password"),
    "default-user-settings-field-username": ("username", "username"),
    "default-user-settings-field-name": ("name", "text"),
    "default-user-settings-field-email": ("email", "email"),
    "default-user-settings-field-locale": ("attributes.settings.locale", "ak-locale"),
}
SCOPES = ("openid", "email", "profile", "entitlements", "offline_access", "authentik_api")
BLUEPRINTS = (
    "Default - Authentication flow",
    "Default - Invalidation flow",
    "Default - TOTP MFA setup flow",
    "Default - Static MFA setup flow",
    "Default - WebAuthn MFA setup flow",
    "Default - Provider invalidation flow",
    "Default - Provider authorization flow (implicit consent)",
    "Default - Provider authorization flow (explicit consent)",
    "Default - Password change flow",
    "Default - User settings flow",
    "Default - Brand",
    "System - OAuth2 Provider - Scopes",
    "System - Proxy Provider - Scopes",
)
PATHS = {
    "Default - Brand": "default/default-brand.yaml",
    "Default - Authentication flow": "default/flow-default-authentication-flow.yaml",
    "Default - Password change flow": "default/flow-password-change.yaml",
}
RULE = "default-password-change-password-policy"
EMBEDDED = "goauthentik.io/outposts/embedded"
OUTPOST_CONFIG = {
    "authentik_host": "",
    "authentik_host_insecure": False,
    "authentik_host_browser": "",
    "log_level": "info",
    "refresh_interval": "minutes=5",
    "object_naming_template": "ak-outpost-%(name)s",
    "container_image": None,
    "docker_network": None,
    "docker_map_ports": True,
    "docker_labels": None,
}


def install(rows: Rows, settings: Settings) -> None:
    """Once per database, then nothing; like migrations, default blueprints and bootstrap together."""
    if not rows.models.get("double.installed"):
        _install_objects(rows)
        rows.add("double.installed", set_up=False)
    installed = rows.all("double.installed")[0]
    if not installed["set_up"] and bootstrap(rows, settings.bootstrap):
        installed["set_up"] = True


def _install_objects(rows: Rows) -> None:
    admins = rows.add("authentik_core.group", name="authentik Admins", is_superuser=True, attributes={})
    rows.add("authentik_core.group", name="authentik Read-only", is_superuser=False, attributes={})
    new_user(rows, "akadmin", "authentik Default Admin", groups=[admins["pk"]])
    for slug, designation in FLOWS.items():
        rows.add("authentik_flows.flow", slug=slug, name=slug, title=slug, designation=designation)
    for name, model in STAGES.items():
        rows.add(model, name=name)
    _bind_stages(rows, "default-authentication-flow", "default-authentication-")
    _bind_stages(rows, "default-invalidation-flow", "default-invalidation-")
    for name, (field, kind) in PROMPTS.items():
        rows.add("authentik_stages_prompt.prompt", name=name, field_key=field, label=field, type=kind)
    for scope in SCOPES:
        managed = f"goauthentik.io/providers/oauth2/scope-{scope}"
        name = f"authentik default OAuth Mapping: OpenID '{scope}'"
        rows.add("authentik_providers_oauth2.scopemapping", name=name, scope_name=scope, managed=managed, expression="")
    for name in ("authentik Self-signed Certificate", "authentik Internal JWT Certificate"):
        rows.add("authentik_crypto.certificatekeypair", name=name, _key=_rsa_key())
    rows.add("authentik_brands.brand", domain="authentik-default", default=True, branding_title="authentik")
    embedded = rows.add("authentik_outposts.outpost", name="authentik Embedded Outpost", type="proxy", managed=EMBEDDED)
    embedded.update(providers=[], config=dict(OUTPOST_CONFIG))
    outpost_account(rows, embedded)
    for name in BLUEPRINTS:
        rows.add(
            "authentik_blueprints.blueprintinstance",
            name=name,
            path=PATHS.get(name, "system/" + name),
            status="unknown" if name in PATHS else "successful",
            last_applied_hash="",
            enabled=True,
            last_applied=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )


def apply_late(rows: Rows) -> None:
    """The worker's second pass on a new database: whatever it has not been told to leave alone wins over others."""
    for row in rows.all("authentik_blueprints.blueprintinstance"):
        if row["name"] in PATHS:
            row["status"] = "successful"
            if row["enabled"]:
                _apply_own(rows)


def _apply_own(rows: Rows) -> None:
    flow = rows.find("authentik_flows.flow", slug="default-authentication-flow")
    rule = rows.find("authentik_policies_password.passwordpolicy", name=RULE)
    assert flow is not None
    flow["title"] = "Welcome to authentik!"
    rule = rule or rows.add("authentik_policies_password.passwordpolicy", name=RULE)
    rule.update(length_min=8, error_message="Password needs to be 8 characters or longer.")


def _bind_stages(rows: Rows, slug: str, prefix: str) -> None:
    flow = rows.find("authentik_flows.flow", slug=slug)
    stages = [row for row in rows.all("authentik_stages_") if row["name"].startswith(prefix)]
    for number, stage in enumerate(stages, start=1):
        order = number * 10
        rows.add("authentik_flows.flowstagebinding", target=(flow or {})["pk"], stage=stage["pk"], order=order)


def bootstrap(rows: Rows, variables: dict[str, str]) -> bool:
    """True when one of the variables closes the setup flow; the e-mail address alone does nothing."""
    if not {"PASSWORD", "PASSWORD_HASH", "TOKEN"} & {name for name, value in variables.items() if value}:
        return False
    admin = rows.find("authentik_core.user", username="akadmin")
    assert admin is not None
    admin["email"] = variables.get("EMAIL") or "root@example.com"
    if variables.get("PASSWORD"):
        admin["_password"] = hash_password(variables["PASSWORD"])
    elif variables.get("PASSWORD_HASH"):
        admin["_password"] = variables["PASSWORD_HASH"]
    if variables.get("TOKEN"):
        new_token(rows, "authentik-bootstrap-token", admin, variables["TOKEN"])
    return True


def new_user(rows: Rows, username: str, name: str, **fields: object) -> Row:
    row = rows.add("authentik_core.user", username=username, name=name, email="", type="internal", path="users")
    row.update(is_active=True, groups=[], roles=[], attributes={}, uuid=str(uuid4()))
    row.update(fields)
    return row


def new_token(rows: Rows, identifier: str, user: Row, key: str) -> Row:
    return rows.add(
        "authentik_core.token", identifier=identifier, user=user["pk"], key=key, intent="api", expiring=False
    )


def outpost_account(rows: Rows, outpost: Row) -> None:
    """Saving an outpost creates its service account and token in the same transaction."""
    username = "ak-outpost-" + str(outpost["pk"]).replace("-", "")
    kind = "internal_service_account"
    user = new_user(
        rows, username, f"Outpost {outpost['name']} Service-Account", type=kind, path="goauthentik.io/outposts"
    )
    new_token(rows, f"ak-outpost-{outpost['pk']}-api", user, secrets.token_urlsafe(45))


def _rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
