"""Stalwart: mail, with mailboxes for the people in the directory."""

from kmuctl.model.service import Container, Data, Database, Network, Port, Record, Route, SecretSpec, Service, secrets
from kmuctl.model.site import Site


def with_relay(site: Site) -> bool:
    return site.mail.relay is not None


SERVICE = Service(
    name="stalwart",
    title="Mail",
    containers=(
        Container(name="stalwart", image="stalwartlabs/stalwart:v0.16.18", uid=2000, memory=576, deadline=240),
    ),
    needs=("postgres", "authentik"),
    uses=("authentik_ldap_bind_password",),
    routes=(
        Route("mail", "stalwart", 8080),
        Route("autoconfig", "stalwart", 8080),
        Route("autodiscover", "stalwart", 8080),
        Route("mta-sts", "stalwart", 8080),
    ),
    ports=(
        Port(25, "tcp", "mail from other servers"),
        Port(465, "tcp", "sending mail (TLS)"),
        Port(587, "tcp", "sending mail (STARTTLS)"),
        Port(993, "tcp", "reading mail"),
        Port(4190, "tcp", "mail filters"),
    ),
    records=(
        Record("@", "MX", "10 mail.{domain}."),
        Record("@", "TXT", "v=spf1 mx -all"),
        Record("_dmarc", "TXT", "v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"),
        Record("_mta-sts", "TXT", "v=STSv1; id=1"),
        Record("_smtp._tls", "TXT", "v=TLSRPTv1; rua=mailto:postmaster@{domain}"),
        Record("_submissions._tcp", "SRV", "0 1 465 mail.{domain}."),
        Record("_submission._tcp", "SRV", "0 1 587 mail.{domain}."),
        Record("_imaps._tcp", "SRV", "0 1 993 mail.{domain}."),
    ),
    databases=(Database("stalwart"),),
    networks=(Network("mail", 7),),
    secrets=(
        *secrets("stalwart_db_password", "stalwart_metrics_password", "stalwart_webhook_key"),
        SecretSpec(name="mail_relay_password", make=None, when=with_relay),
    ),
    data=(Data("data", uid=2000), Data("certs", uid=2000)),
    launcher={"de": "E-Mail", "en": "Mail"},
)
