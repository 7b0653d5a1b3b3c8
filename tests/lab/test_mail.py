"""Mail in the running stack: Stalwart (a double) set up over its own interface, its directory Authentik's double."""

from __future__ import annotations

import imaplib
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.model.secrets import Secret
from kmuctl.model.stack import PROJECT
from kmuctl.model.step import Outcome, State
from kmuctl.operations.plan import converge
from kmuctl.operations.stalwart.registry import Registry
from kmuctl.operations.up import up
from kmuctl.operations.vault import open_vault
from tests.lab.counting import CountingHost
from tests.lab.stack import HERE, LabSite, address, api, containers, docker, eventually, inside, name_of, run

pytestmark = pytest.mark.lab
PATIENT = 30


def anyone() -> ssl.SSLContext:
    """Which certificate it is, is another test's affair."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def registry(site: LabSite) -> Registry:
    return Registry(Secret((site.folder / "state/stalwart.key").read_text()))


def noreply(site: LabSite) -> tuple[str, str]:
    return f"noreply@{site.stack.site.domain}", site.secrets()["authentik_noreply_password"]


def recipient_answer(site: LabSite, local: str) -> int:
    """What another server hears about one of our addresses."""
    with smtplib.SMTP(HERE, 25, timeout=PATIENT) as link:
        link.ehlo("mx.elsewhere.example")
        link.mail("somebody@elsewhere.example")
        return link.rcpt(f"{local}@{site.stack.site.domain}")[0]


def test_a_second_up_sends_no_write_to_any_service(site: LabSite) -> None:
    """K56: every step holds, and nothing was told to change in finding that out: host, engine, database, services."""
    host, stack = CountingHost(), site.stack
    before = {name: item["State"]["StartedAt"] for name, item in containers().items()}
    steps = [*up(stack, open_vault(stack, host), site.file.read_bytes())]
    outcomes = [event for event in converge(steps, host) if isinstance(event, Outcome)]
    assert [str(outcome) for outcome in outcomes if outcome.state is not State.OK] == []
    assert (len(outcomes), host.changes) == (len(steps), [])
    assert site.up()["steps"] == []
    assert {name: item["State"]["StartedAt"] for name, item in containers().items()} == before


def test_counting_notices_a_change(site: LabSite) -> None:
    """The test above could fail: kmuctl's own reading is no change, a command and a signal are."""
    host = CountingHost()
    host.engine.ask(PROJECT, "postgres", ["true"])
    host.query(["true"])
    assert host.changes == []
    host.run(["true"])
    host.engine.execute(PROJECT, "postgres", ["true"])
    assert [change.partition(" ")[0] for change in host.changes] == ["run", "execute"]


def test_the_domain_has_two_signing_keys(site: LabSite) -> None:
    """K48 D53: Ed25519 and RSA, made by Stalwart."""
    [domain] = registry(site).rows(LocalHost(), "Domain")
    assert domain["name"] == site.stack.site.domain
    keys = eventually(lambda: registry(site).find(LocalHost(), "DkimSignature", {"domainId": domain["id"]}), within=30)
    assert {key["@type"] for key in keys} == {"Dkim1Ed25519Sha256", "Dkim1RsaSha256"}


def test_nothing_but_kmuctls_key_lets_into_its_settings(site: LabSite) -> None:
    """The recovery credentials were for the first moment only."""
    [environment] = [containers()["stalwart"]["Config"]["Env"]]
    assert not [line for line in environment if "RECOVERY" in line]
    for user in (("admin", "admin"), ("", "")):
        answer = httpx.get(f"http://{address('stalwart')}:8080/jmap/session", auth=user)
        assert answer.status_code == 401


def test_noreply_sends_and_people_receive(site: LabSite) -> None:
    """K49 K84: the first admin's mailbox is there because the address is the company's own."""
    sender, password = noreply(site)
    person = site.stack.site.admin.email
    for port in (465, 587):
        with submission(port) as link:
            link.login(sender, password)
            assert link.sendmail(sender, [person], f"Subject: {port}\r\n\r\nHello\r\n") == {}
    assert recipient_answer(site, "trial") == 250
    assert recipient_answer(site, "postmaster") == 250
    assert recipient_answer(site, "nobody") == 550


@contextmanager
def submission(port: int) -> Iterator[smtplib.SMTP]:
    if port == 465:
        with smtplib.SMTP_SSL(HERE, port, timeout=PATIENT, context=anyone()) as link:
            yield link
        return
    with smtplib.SMTP(HERE, port, timeout=PATIENT) as link:
        link.starttls(context=anyone())
        yield link


def test_nobody_sends_as_somebody_else_or_with_a_wrong_password(site: LabSite) -> None:
    sender, password = noreply(site)
    with submission(465) as link:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            link.login(sender, "wrong")
        link.login(sender, password)
        assert link.mail(site.stack.site.admin.email)[0] == 501


def test_the_directory_opens_a_mailbox(site: LabSite) -> None:
    """K69 K117: IMAP asks LDAP, as the person that signs in."""
    with imaplib.IMAP4_SSL(HERE, 993, ssl_context=anyone(), timeout=PATIENT) as link:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            link.login(noreply(site)[0], "wrong")
        assert link.login(*noreply(site))[0] == "OK"


def fulfil(site: LabSite, name: str) -> State:
    """Bring one step of `up`, as the site file has it now; what became of it."""
    host, stack = LocalHost(), site.stack
    [step] = [step for step in up(stack, open_vault(stack, host), site.file.read_bytes()) if step.name == name]
    [outcome] = [event for event in converge([replace(step, after=())], host) if isinstance(event, Outcome)]
    return outcome.state


def test_other_servers_may_insist_on_our_certificate(site: LabSite) -> None:
    """D21: the policy that DNS announces, at its own name; with an authority of our own nothing is promised."""
    policy = "/.well-known/mta-sts.txt"
    assert site.get("mta-sts", policy).status_code == 404
    with site.edited("tls", mode="files", certificate="/own.crt", key="/own.key"):
        assert fulfil(site, "stalwart:settings") is State.CHANGE
    lines = site.get("mta-sts", policy).text.splitlines()
    assert fulfil(site, "stalwart:settings") is State.CHANGE
    assert lines == ["version: STSv1", "mode: testing", "max_age: 604800", f"mx: {site.stack.site.fqdn('mail')}"]


def test_a_failed_sign_in_is_told_to_the_worker_with_a_signature(site: LabSite) -> None:
    """D21: the worker believes it; an event without the key it does not."""
    told_of_a_guess("guesser")
    hook = f"http://{address('usersync')}:8001/webhooks/stalwart"
    assert httpx.post(hook, content=b'{"events": []}', headers={"X-Signature": "x"}).status_code == 401


def told_of_a_guess(name: str) -> None:
    """Somebody tries a password, and the worker is told who."""
    with (
        imaplib.IMAP4_SSL(HERE, 993, ssl_context=anyone(), timeout=PATIENT) as link,
        pytest.raises(imaplib.IMAP4.error),
    ):
        link.login(f"{name}@elsewhere.example", "wrong")
    told = f'accountName="{name}@elsewhere.example"'
    eventually(lambda: told in run("docker", "logs", name_of("usersync")).stderr, within=20, what="the worker")


def test_a_setting_changed_by_hand_is_named_and_put_right(site: LabSite) -> None:
    """K56: with the cause; what is not ours stays."""
    [domain] = registry(site).rows(LocalHost(), "Domain")
    hand = {"description": "By hand", "catchAllAddress": f"all@{domain['name']}"}
    registry(site).change(LocalHost(), "Domain", update={domain["id"]: hand})
    assert site.plan() == {"stalwart:settings": f"Domain {domain['name']} differs in description"}
    site.up()
    [after] = registry(site).rows(LocalHost(), "Domain")
    assert (after["description"], after["catchAllAddress"]) == (domain["description"], hand["catchAllAddress"])
    registry(site).change(LocalHost(), "Domain", update={domain["id"]: {"catchAllAddress": None}})


@pytest.mark.parametrize("away", ["authentik-ldap", "authentik-server"])
def test_a_missing_directory_never_bounces_mail(site: LabSite, away: str) -> None:
    """PITFALLS 33: 4xx while LDAP, or what it asks, is away; `up` stops mail first, and starts it last."""
    docker("stop", name_of(away))
    assert recipient_answer(site, "trial") == 451
    assert recipient_answer(site, "postmaster") == 451
    assert recipient_answer(site, "nobody") == 451
    steps = [step["step"] for step in site.up()["steps"]]
    assert steps == [f"container:{away}", "container:stalwart"]
    assert recipient_answer(site, "trial") == 250


def test_a_right_lost_in_the_directory_is_given_back(site: LabSite) -> None:
    """K38, PITFALLS 32: without the right to search everybody seems unknown, and mail would bounce."""
    [provider] = api(site, "providers/ldap/")["results"]
    [role] = [row for row in api(site, "rbac/roles/")["results"] if row["name"] == "ldap-search"]
    lost = {
        "permissions": ["authentik_providers_ldap.search_full_directory"],
        "model": "authentik_providers_ldap.ldapprovider", "object_pk": str(provider["pk"]),
    }  # fmt: skip
    api(site, f"rbac/permissions/assigned_by_roles/{role['pk']}/unassign/", "PATCH", lost)
    assert recipient_answer(site, "trial") == 550
    assert set(site.plan()) == {"stalwart:directory"}
    site.up()
    assert recipient_answer(site, "trial") == 250


def test_an_address_is_found_as_it_was_typed(site: LabSite) -> None:
    """Authentik compares letter by letter, as its real outpost does."""
    [person] = [row for row in api(site, "core/users/")["results"] if row["username"] == "trial"]
    api(site, f"core/users/{person['pk']}/", "PATCH", {"email": person["email"].capitalize()})
    assert recipient_answer(site, "trial") == 550
    assert [step["step"] for step in site.up()["steps"]] == ["authentik:addresses"]
    assert recipient_answer(site, "trial") == 250


def test_a_lost_key_is_replaced(site: LabSite) -> None:
    old = registry(site)
    (site.folder / "state/stalwart.key").unlink()
    steps = [step["step"] for step in site.up()["steps"]]
    assert steps == ["stalwart:setup", "container:stalwart"]
    assert registry(site).welcome(LocalHost())
    assert not old.welcome(LocalHost())
    assert "25/tcp" in containers()["stalwart"]["NetworkSettings"]["Ports"]


def test_its_numbers_want_a_password(site: LabSite) -> None:
    """Prometheus' page, inside only."""
    path = "http://127.0.0.1:8080/metrics/prometheus"
    said = inside("stalwart", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", path)
    assert said.stdout == "401"
    password = site.secrets()["stalwart_metrics_password"]
    answer = httpx.get(f"http://{address('stalwart')}:8080/metrics/prometheus", auth=("metrics", password))
    assert answer.status_code == 200
