"""Stalwart: mail, with mailboxes for the people in the directory."""

from hashlib import sha256

from kmuctl.model.service import Container, Data, Database, Network, Port, Record, Route, Service, secrets
from kmuctl.model.site import Site


def records(site: Site) -> tuple[Record, ...]:
    report, host = f"mailto:postmaster@{site.domain}", site.fqdn("mail")
    doors = {"_submissions": 465, "_submission": 587, "_imaps": 993, "_sieve": 4190, "_jmap": 443}
    return (
        Record("@", "MX", f"10 {host}."),
        Record("@", "TXT", spf(site)),
        Record("mail", "TXT", "v=spf1 a -all"),
        Record("_dmarc", "TXT", f"v=DMARC1; p=quarantine; rua={report}"),
        *sts_records(site),
        Record("_smtp._tls", "TXT", f"v=TLSRPTv1; rua={report}"),
        *(Record(f"{name}._tcp", "SRV", f"0 1 {port} {host}.") for name, port in doors.items()),
        *(() if site.enabled("nextcloud") else dav_records(host)),
    )


def spf(site: Site) -> str:
    """Who sends for the domain. Without the relay's name a strict record would have its mail refused."""
    relay = site.mail.relay
    include = f" include:{relay.spf or f'<SPF name of {relay.host}>'}" if relay else ""
    return f"v=spf1 mx{include} -all"


def sts_records(site: Site) -> tuple[Record, ...]:
    """Other servers read the policy again when the id changes, so it follows from the policy."""
    if site.mta_sts == "disable":
        return ()
    policy = f"mode: {site.mta_sts}, mx: {site.fqdn('mail')}"
    return (Record("_mta-sts", "TXT", f"v=STSv1; id={sha256(policy.encode()).hexdigest()[:20]}"),)


def dav_records(host: str) -> tuple[Record, ...]:
    """Calendars and contacts are Nextcloud's, where there is one."""
    return tuple(Record(name, "SRV", f"0 1 443 {host}.") for name in ("_caldavs._tcp", "_carddavs._tcp"))


SERVICE = Service(
    name="stalwart",
    title="Mail",
    containers=(
        Container(name="stalwart", image="stalwartlabs/stalwart:v0.16.18", uid=2000, memory=576, deadline=240),
    ),
    needs=("postgres", "authentik"),
    uses=("authentik_ldap_bind_password", "mail_relay_password"),
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
    records=records,
    databases=(Database("stalwart"),),
    networks=(Network("mail", 7),),
    secrets=secrets("stalwart_db_password", "stalwart_metrics_password", "stalwart_webhook_key"),
    data=(Data("data", uid=2000), Data("certs", uid=2000)),
    launcher={"de": "E-Mail", "en": "Mail"},
)
