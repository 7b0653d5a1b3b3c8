"""Authentik: the one sign-on, and the directory that mail asks through LDAP."""

from kmuctl.model.service import Container, Data, Database, Network, Route, Service, secrets

IMAGE = "ghcr.io/goauthentik/server:2026.8.5"

SERVICE = Service(
    name="authentik",
    title="Authentik",
    essential=True,
    containers=(
        Container(name="authentik-server", image=IMAGE, uid=1000, memory=896, deadline=600),
        Container(name="authentik-worker", image=IMAGE, uid=1000, memory=704, deadline=600),
        Container(name="authentik-ldap", image="ghcr.io/goauthentik/ldap:2026.8.5", uid=1000, memory=96, deadline=120),
    ),
    needs=("postgres",),
    sends_mail=True,
    routes=(Route("auth", "authentik-server", 9000),),
    databases=(Database("authentik"),),
    networks=(Network("directory", 2),),
    secrets=(
        # the bootstrap values are read once, before the first account exists
        *secrets("authentik_secret_key", "authentik_bootstrap_password", "authentik_bootstrap_token", sealed=True),
        *secrets(
            "authentik_db_password",
            "authentik_ldap_token",
            "authentik_ldap_bind_password",
            "authentik_noreply_password",
        ),
    ),
    data=(Data("data", uid=1000), Data("certs", uid=1000)),
    live=("blueprints/", "authentik/mail/"),
)
