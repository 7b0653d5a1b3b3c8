"""The plan of Stalwart against a real one (see README.md): twice; then mail, sign-in and events as people have them."""

from __future__ import annotations

import imaplib
import logging
import smtplib
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any
from uuid import uuid4

import httpx
import pytest

from kmuctl.model.errors import StepFailed
from kmuctl.model.secrets import Secret
from kmuctl.operations.stalwart.plan import differences, fulfil, read_plan
from kmuctl.operations.stalwart.registry import Registry
from kmuctl.panel import sync
from tests.lab.stack import eventually
from tests.real.stalwart import ADMIN, URL, RealHost, admin
from tests.support import rendered

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (URL and ADMIN), reason="KMU_REAL_STALWART and KMU_REAL_STALWART_ADMIN are not set"),
]
DOMAIN, HERE, PATIENT = "kmu.test", "127.0.0.1", 60
SITE: dict[str, Any] = {
    "domain": DOMAIN, "tls": {"mode": "internal"},
    "admin": {"username": "max", "name": "Max", "email": f"max@{DOMAIN}"},
}  # fmt: skip
RELAY = {"relay": {"host": "smtp.example.net", "port": 587, "username": "acme"}}
PEOPLE = {name: f"{name}-password" for name in ("max", "noreply", "eve")}
"""Of whom eve is in no group."""


def plan(**changes: Any) -> Any:
    return read_plan(rendered(**SITE, **changes)["stalwart/plan.ndjson"])


@pytest.fixture(scope="module")
def host() -> Any:
    """Every object as planned; the server was started with the planned listeners."""
    host: Any = RealHost()
    fulfil(plan(), Registry(user=admin()), host)
    load(host)
    return host


@pytest.fixture(autouse=True)
def slowly() -> None:
    """It lets one address connect five times a second."""
    sleep(0.3)


def load(host: Any) -> None:
    Registry(user=admin()).change(host, "Action", create={"load": {"@type": "ReloadSettings"}})


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_the_second_time_nothing_is_written(host: Any) -> None:
    """K56."""
    registry = Registry(user=admin())
    before = len(host.sent)
    assert differences(plan(), registry, host) == []
    assert fulfil(plan(), registry, host) == set()
    assert len(host.sent) == before


def test_a_relay_comes_and_goes(host: Any) -> None:
    """L20: and the server takes the expressions."""
    registry = Registry(user=admin())
    wanted = {"MtaRoute", "MtaTlsStrategy", "MtaOutboundStrategy"}
    for site in ({"mail": RELAY}, {}):
        assert fulfil(plan(**site), registry, host) == wanted
        load(host)
        assert differences(plan(**site), registry, host) == []


def test_a_key_is_as_good_as_the_administrator_until_it_is_removed(host: Any) -> None:
    people = Registry(user=admin())
    [account] = people.find(host, "Account", {"name": "kmuctl"})
    owner = {"accountId": account["id"]}
    made = people.change(host, "ApiKey", create={"key": {"description": "test"}}, **owner)["created"]["key"]
    key = Registry(Secret(made["secret"]))
    assert key.welcome(host)
    assert differences(plan(), key, host) == []
    people.change(host, "ApiKey", destroy=[made["id"]], **owner)
    assert not key.welcome(host)


def test_the_first_admin_administers_mail_and_noreply_does_not(host: Any) -> None:
    """K47: with the password of the directory; `stalwart:directory` is answered as it expects."""
    [domain] = person("max").rows(host, "Domain")
    assert domain["name"] == DOMAIN
    with pytest.raises(StepFailed, match="Stalwart refuses Domain"):
        person("noreply").rows(host, "Domain")
    assert person("noreply").welcome(host)
    assert not person("noreply", "wrong").welcome(host)


def person(name: str, password: str = "") -> Registry:
    return Registry(user=(f"{name}@{DOMAIN}", Secret(password or PEOPLE[name])))


def test_the_policy_for_other_servers_is_served(host: Any) -> None:
    """D53: where DNS announces it, and only there."""
    registry = Registry(user=admin())
    assert policy().status_code == 404
    public = {**SITE, "tls": {"mode": "files", "certificate": "/c.crt", "key": "/c.key"}}
    fulfil(read_plan(rendered(**public)["stalwart/plan.ndjson"]), registry, host)
    load(host)
    lines = policy().text.splitlines()
    fulfil(plan(), registry, host)
    load(host)
    assert lines == ["version: STSv1", "mode: testing", "max_age: 604800", f"mx: mail.{DOMAIN}"]


def policy() -> httpx.Response:
    headers = {"Host": f"mta-sts.{DOMAIN}", "X-Forwarded-For": "203.0.113.9"}
    return httpx.get(f"{URL}/.well-known/mta-sts.txt", headers=headers)


def test_a_refused_object_is_named_with_its_property(host: Any) -> None:
    registry = Registry(user=admin())
    with pytest.raises(StepFailed, match=r"Stalwart refuses Domain: .*name"):
        registry.change(host, "Domain", create={"bad": {"name": "no domain"}})


def test_the_domain_signs_with_both_kinds_of_key(host: Any) -> None:
    """D53."""
    registry = Registry(user=admin())
    [domain] = registry.rows(host, "Domain")
    keys = eventually(lambda: registry.find(host, "DkimSignature", {"domainId": domain["id"]}), within=60)
    assert {key["@type"] for key in keys} == {"Dkim1Ed25519Sha256", "Dkim1RsaSha256"}


@pytest.mark.parametrize(("person", "password", "opens"), [
    ("max", PEOPLE["max"], True), ("max", "wrong", False), ("eve", PEOPLE["eve"], False), ("kmuctl", "kmuctl", False),
])  # fmt: skip
def test_the_directory_opens_mailboxes(host: Any, person: str, password: str, opens: bool) -> None:
    """K69 K117: by full address, for people in the group alone; kmuctl's own account has no password at all."""
    with imaplib.IMAP4_SSL(HERE, 993, ssl_context=trusting(), timeout=PATIENT) as link:
        if opens:
            assert link.login(f"{person}@{DOMAIN}", password)[0] == "OK"
        else:
            with pytest.raises(imaplib.IMAP4.error):
                link.login(f"{person}@{DOMAIN}", password)


def test_what_noreply_sends_lies_in_the_mailbox(host: Any) -> None:
    """K49 K84: submission by TLS and by STARTTLS, IMAP to read."""
    for port in (465, 587):
        message = EmailMessage()
        message["Subject"] = subject = uuid4().hex
        message["From"], message["To"] = f"noreply@{DOMAIN}", f"max@{DOMAIN}"
        message.set_content("Hello")
        with _submission(port) as link:
            link.login(f"noreply@{DOMAIN}", PEOPLE["noreply"])
            link.send_message(message)
        eventually(partial(_found, subject), within=30, what="the mail in the mailbox")


def _submission(port: int) -> smtplib.SMTP:
    if port == 465:
        return smtplib.SMTP_SSL(HERE, port, timeout=PATIENT, context=trusting())
    link = smtplib.SMTP(HERE, port, timeout=PATIENT)
    link.starttls(context=trusting())
    return link


def _found(subject: str) -> bool:
    with imaplib.IMAP4_SSL(HERE, 993, ssl_context=trusting(), timeout=PATIENT) as link:
        link.login(f"max@{DOMAIN}", PEOPLE["max"])
        for folder in ("INBOX", '"Junk Mail"'):
            link.select(folder, readonly=True)
            if link.search(None, "SUBJECT", subject)[1] != [b""]:
                return True
    return False


@pytest.mark.parametrize(("local", "code"), [("max", 250), ("postmaster", 250), ("abuse", 250), ("nobody", 550)])
def test_strangers_reach_those_who_exist(host: Any, local: str, code: int) -> None:
    with smtplib.SMTP(HERE, 25, timeout=PATIENT) as link:
        link.ehlo("mx.example.org")
        link.mail("somebody@example.org")
        assert link.rcpt(f"{local}@{DOMAIN}")[0] == code


def test_nobody_sends_as_somebody_else(host: Any) -> None:
    with _submission(465) as link:
        link.login(f"noreply@{DOMAIN}", PEOPLE["noreply"])
        assert link.mail(f"max@{DOMAIN}")[0] == 501


@pytest.fixture
def worker() -> Iterator[None]:
    """kmuctl's own receiver, where the plan's webhook leads."""
    key = Path("/run/secrets/stalwart_webhook_key").read_text().strip()
    server = sync.Server((HERE, sync.PORT), sync.Watch(), key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def test_events_arrive_with_a_signature_that_we_believe(
    host: Any, worker: None, caplog: pytest.LogCaptureFixture
) -> None:
    """D21."""
    caplog.set_level(logging.INFO)
    with (
        imaplib.IMAP4_SSL(HERE, 993, ssl_context=trusting(), timeout=PATIENT) as link,
        pytest.raises(imaplib.IMAP4.error),
    ):
        link.login(f"max@{DOMAIN}", "guess")
    eventually(lambda: [m for m in caplog.messages if m.startswith("mail auth.failed")], within=30, what="the event")
    assert not [message for message in caplog.messages if "wrong signature" in message]
