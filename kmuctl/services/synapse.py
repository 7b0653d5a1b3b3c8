"""Synapse: the company's Matrix server."""

from kmuctl.model.secrets import signing_key
from kmuctl.model.service import Container, Data, Database, Oidc, Route, SecretSpec, Service, secrets

SERVICE = Service(
    name="synapse",
    title="Synapse",
    containers=(
        Container(name="synapse", image="ghcr.io/element-hq/synapse:v1.163.2", uid=991, memory=640, deadline=180),
    ),
    needs=("postgres",),
    uses=("turn_secret",),
    sends_mail=True,
    routes=(Route("matrix", "synapse", 8008),),
    databases=(Database("synapse", collation="C"),),
    secrets=(
        SecretSpec(name="synapse_signing_key", make=signing_key, sealed=True),
        # public, but nobody else knows them any more: what older events were signed with
        SecretSpec(name="synapse_retired_keys", make=lambda: "none-yet"),
        *secrets(
            "synapse_db_password",
            "synapse_registration_secret",
            "synapse_macaroon_secret",
            "synapse_form_secret",
            "synapse_admin_token",
        ),
    ),
    data=(Data("media", uid=991),),
    login=Oidc(
        redirects=("/_synapse/client/oidc/callback",),
        logout="/_synapse/client/oidc/backchannel_logout",
    ),
)
