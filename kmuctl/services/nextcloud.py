"""Nextcloud: files, calendars, contacts.

34, not 35: every app that we install has a release for it (upstream/nextcloud.md 5.1).
"""

from kmuctl.model.service import Container, Data, Database, Network, Oidc, Record, Route, Service, secrets
from kmuctl.model.site import Site

IMAGE = "nextcloud:34.0.4-apache"


def records(site: Site) -> tuple[Record, ...]:
    """Calendars and contacts are found by the domain of one's address; the path, so that nobody needs a redirect."""
    return tuple(
        record
        for name in ("_caldavs._tcp", "_carddavs._tcp")
        for record in (
            Record(name, "SRV", f"0 1 443 {site.fqdn('cloud')}."), Record(name, "TXT", "path=/remote.php/dav/")
        )
    )  # fmt: skip


SERVICE = Service(
    name="nextcloud",
    title="Nextcloud",
    containers=(
        Container(name="nextcloud", image=IMAGE, uid=33, memory=896, deadline=900),
        Container(name="nextcloud-cron", image=IMAGE, uid=33, memory=320, deadline=120),
        Container(name="nextcloud-valkey", image="valkey/valkey:9.1.1", uid=999, memory=96),
    ),
    needs=("postgres",),
    sends_mail=True,
    routes=(Route("cloud", "nextcloud", 80),),
    records=records,
    databases=(Database("nextcloud"),),
    networks=(Network("nextcloud", 3),),
    secrets=(*secrets("nextcloud_admin_password", "nextcloud_db_password", "nextcloud_valkey_password"),),
    data=(Data("html", uid=33),),
    login=Oidc(
        redirects=("/apps/user_oidc/code", "/index.php/apps/user_oidc/code"),
        logout="/index.php/apps/user_oidc/backchannel-logout/authentik",
        scopes=("openid", "email", "profile", "nextcloud"),
        sub_mode="user_uuid",
    ),
    launcher={"de": "Dateien, Kalender, Kontakte", "en": "Files, calendars, contacts"},
)
