"""The certificates of Caddy, handed to mail and calls, and seen there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kmuctl.model.step import State
from kmuctl.operations import certs
from kmuctl.operations.certificates import Pair, fault, serial
from tests.fakes import FakeHost
from tests.fakes.certificates import issued
from tests.fakes.tls import SELF_SIGNED
from tests.operations.scenes import FOLDER, bring, changed, empty, go_up, plan, running
from tests.support import stack

RENDERED = f"{FOLDER}/rendered"
COPIES = {"turn": f"{FOLDER}/data/coturn/certs/turn.pem", "mail": f"{FOLDER}/data/stalwart/certs/mail.pem"}
FILES = {"certificate": "/etc/ssl/site.crt", "key": "/etc/ssl/site.key"}
ISSUER = "acme-v02.api.letsencrypt.org-directory"
SERVED = {f"certs:{host}{what}" for host in COPIES for what in ("", ":served")}


def caddys(host: str, kind: str = "crt", issuer: str = ISSUER) -> str:
    name = f"{host}.acme.example"
    return f"{FOLDER}/data/caddy/data/caddy/certificates/{issuer}/{name}/{name}.{kind}"


def shown(host: FakeHost) -> tuple[int | None, int]:
    """Serials that calls and mail show."""
    return host.http.coturn.shown, host.http.stalwart.shown()


def serials(host: FakeHost) -> tuple[int, int]:
    """Serials of what Caddy has for calls and mail."""
    turn, mail = (serial(host.read(caddys(name)) or b"") for name in ("turn", "mail"))
    return turn, mail


def sync(host: FakeHost, **changes: Any) -> dict[str, Any]:
    return bring(certs.sync_steps(stack(**changes)), host)


def own_certificate(host: FakeHost, *names: str, number: int = 1) -> None:
    pair = issued(*names, number=number)
    host.write(FILES["certificate"], pair.certificate)
    host.write(FILES["key"], pair.key, mode=0o600)


def test_mail_and_calls_serve_what_caddy_has() -> None:
    """K8, K12: each has a copy of its own, readable by nobody else, in one file: key and certificate never differ."""
    host = running()
    assert shown(host) == serials(host)
    for name, (uid, path) in {"turn": (65534, COPIES["turn"]), "mail": (2000, COPIES["mail"])}.items():
        node = host.nodes[path]
        assert (node.mode, node.uid) == (0o600, uid)
        assert node.content == (host.read(caddys(name)) or b"") + (host.read(caddys(name, "key")) or b"")


def default_certificate(host: FakeHost) -> str | None:
    found: str | None = host.http.stalwart.rows("SystemSettings")["singleton"]["defaultCertificateId"]
    return found


def test_stalwart_knows_the_file_and_takes_it_for_its_own() -> None:
    """K8: clients that name no host get it too."""
    host = running()
    [(key, row)] = host.http.stalwart.rows("Certificate").items()
    assert row["certificate"] == row["privateKey"] == {"@type": "File", "filePath": "/certs/mail.pem"}
    assert default_certificate(host) == key
    assert host.http.stalwart.shown("nobody.example") == serials(host)[1]


def test_the_second_time_nothing_is_sent() -> None:
    """U36."""
    host = running()
    before = host.snapshot()
    assert changed(sync(host)) == set()
    assert host.snapshot() == before


def test_a_renewed_certificate_reaches_both() -> None:
    """K8, K12: by reload alone; nobody is restarted, and Stalwart's row stays as it is."""
    host = running()
    before, rows = serials(host), host.http.stalwart.rows("Certificate").keys()
    host.engine.certify(RENDERED, number=2)
    sent = len(host.http.sent)
    assert changed(sync(host)) == SERVED
    assert shown(host) == serials(host) != before
    assert host.http.stalwart.rows("Certificate").keys() == rows
    assert sorted(host.http.sent[sent:]) == ["POST /jmap x:Action/set", "SIGUSR2 to coturn"]
    assert changed(sync(host)) == set()


@pytest.mark.parametrize("when", ["between file and signal", "before the file"])
def test_killed_half_way(when: str) -> None:
    """What is served is looked at, not only what lies there."""
    host = running()
    host.engine.certify(RENDERED, number=2)
    if when == "between file and signal":
        pair = Pair(host.read(caddys("turn")) or b"", host.read(caddys("turn", "key")) or b"")
        host.write(COPIES["turn"], pair.together, mode=0o600, uid=65534)
    sync(host)
    assert shown(host) == serials(host)


def test_a_program_that_goes_on_with_the_old_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """K8: the port, and both serials."""
    monkeypatch.setattr(certs, "DEADLINE", 0)
    host = running()
    host.http.coturn.deaf = True
    old = serials(host)[0]
    host.engine.certify(RENDERED, number=2)
    outcome = sync(host)["certs:turn:served"]
    assert outcome.state is State.FAILED
    new = serials(host)[0]
    assert outcome.cause.startswith(
        f"port 5349 of turn.acme.example serves an old certificate: serial {old:x} instead of {new:x}"
    )


def test_without_dns_up_is_done_and_says_what_is_missing() -> None:
    """K8: Caddy goes on asking; calls have no TLS and mail a certificate of its own making until then."""
    host = empty()
    host.engine.certifies = False
    assert not [outcome for outcome in go_up(host).values() if outcome.state is State.FAILED]
    assert shown(host) == (None, SELF_SIGNED)
    [text] = certs.missing(stack(), host)
    assert text.startswith("no certificate yet for auth.acme.example, acme.example, www.acme.example and 11 more: ")
    assert not set(COPIES.values()) & host.nodes.keys()


def test_when_dns_is_ready_calls_get_their_tls_by_a_restart() -> None:
    """coturn opens no port for TLS when it starts without a certificate, and a signal does not change that."""
    host = empty()
    host.engine.certifies = False
    go_up(host)
    host.engine.certify(RENDERED)
    assert changed(sync(host)) == SERVED
    assert shown(host) == serials(host)
    assert not [line for line in host.http.sent if "SIGUSR2" in line]
    assert certs.missing(stack(), host) == []


def test_young_caddy_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """K8: right after the start certificates are on their way; later only DNS can be the reason."""
    host = empty()
    host.engine.certifies = False
    go_up(host)
    written = max(host.engine.made["caddy"].started, host.nodes[f"{RENDERED}/caddy/Caddyfile"].written)
    for seconds, state in ((-1, State.OK), (1, State.BLOCKED), (59, State.BLOCKED), (61, State.OK)):
        monkeypatch.setattr(host, "now", lambda seconds=seconds: written + seconds)
        assert plan(host)["certs:issued"].state is state, seconds
    monkeypatch.setattr(host, "now", lambda: written + 1)
    assert plan(host)["certs:issued"].cause.startswith("Caddy is getting auth.acme.example, acme.example, ")


def test_a_pair_that_does_not_belong_together_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caddy writes one file after the other: nobody serves half of a renewal."""
    monkeypatch.setattr(certs, "PATIENCE", 0)
    host = running()
    before = shown(host)
    host.write(caddys("turn"), issued("turn.acme.example", number=2).certificate, mode=0o600)
    outcomes = sync(host)
    assert outcomes["certs:issued"].state is State.FAILED
    assert outcomes["certs:issued"].cause.startswith("key and certificate do not belong together")
    assert shown(host) == before
    host.engine.certify(RENDERED, number=2)
    sync(host)
    assert shown(host) == serials(host)


def test_an_expired_certificate_is_not_handed_on() -> None:
    """Stalwart would throw it away, and clients refuse it: the admin hears of it."""
    host = running()
    before = shown(host)
    host.engine.certify(RENDERED, number=2, days=-1)
    assert changed(sync(host)) == set()
    assert shown(host) == before
    assert [text.partition(" expired on ")[0] for text in certs.faults(stack(), host)] == [
        f"{program} cannot have it: the certificate of {name}.acme.example"
        for program, name in (("coturn", "turn"), ("stalwart", "mail"))
    ]


def test_stalwart_may_have_forgotten_its_certificate() -> None:
    """An expired one goes when it is told to load them: it is made again."""
    host = running()
    stalwart = host.http.stalwart
    stalwart.change("SystemSettings", update={"singleton": {"defaultCertificateId": None}})
    host.write(COPIES["mail"], issued("mail.acme.example", days=-1).together, mode=0o600, uid=2000)
    stalwart.change("Action", create=[{"@type": "ReloadTlsCertificates"}])
    assert (stalwart.rows("Certificate"), stalwart.shown()) == ({}, SELF_SIGNED)
    assert plan(host)["certs:mail:served"].cause == "Stalwart does not know the file yet"
    assert changed(sync(host)) == {"certs:mail", "certs:mail:served"}
    assert shown(host) == serials(host)


def test_another_default_is_put_back() -> None:
    """K56."""
    host = running()
    host.http.stalwart.change("SystemSettings", update={"singleton": {"defaultCertificateId": None}})
    assert plan(host)["certs:mail:served"].cause == "it is not Stalwart's own certificate yet"
    assert changed(sync(host)) == {"certs:mail:served"}
    assert default_certificate(host) in host.http.stalwart.rows("Certificate")


def test_without_a_key_to_stalwart_it_cannot_be_seen() -> None:
    host = running()
    host.remove(f"{FOLDER}/state/stalwart.key")
    outcome = plan(host)["certs:mail:served"]
    assert (outcome.state, outcome.cause) == (State.BLOCKED, "can be seen when kmuctl has its key to Stalwart")
    failed = sync(host)["certs:mail:served"]
    assert (failed.state, failed.hint) == (State.FAILED, "`kmuctl up` makes it")


def test_a_copy_with_other_rights_is_put_right() -> None:
    host = running()
    content = host.read(COPIES["mail"]) or b""
    host.write(COPIES["mail"], content, mode=0o644, uid=0)
    assert changed(sync(host)) == {"certs:mail"}
    assert (host.nodes[COPIES["mail"]].mode, host.nodes[COPIES["mail"]].uid) == (0o600, 2000)


@pytest.mark.parametrize(
    ("tls", "issuer"),
    [
        ({"mode": "internal"}, "local"),
        ({"mode": "acme"}, ISSUER),
        ({"mode": "acme", "staging": True}, "acme-staging-v02.api.letsencrypt.org-directory"),
    ],
)
def test_every_authority_of_caddy_has_a_folder_of_its_own(tls: dict[str, Any], issuer: str) -> None:
    host = empty()
    assert changed(go_up(host, tls=tls, apps={"nextcloud": False})) >= SERVED
    assert shown(host)[0] == serial(host.read(caddys("turn", issuer=issuer)) or b"")


def test_a_certificate_of_the_company() -> None:
    """K8: mode "files"; the timer hands a renewed one to Caddy too."""
    host, tls = running(), {"mode": "files", **FILES}
    own_certificate(host, "acme.example", "*.acme.example")
    go_up(host, tls=tls)
    own_certificate(host, "acme.example", "*.acme.example", number=2)
    assert changed(sync(host, tls=tls)) == {"certificate", *SERVED}
    assert set(shown(host)) == {serial(host.read(FILES["certificate"]) or b"")}


def test_a_certificate_of_the_company_that_does_not_cover_a_name() -> None:
    host, tls = running(), {"mode": "files", **FILES}
    own_certificate(host, "acme.example", "mail.acme.example")
    go_up(host, tls=tls)
    [text] = certs.faults(stack(tls=tls), host)
    assert text == (
        "coturn cannot have it: the certificate is not for turn.acme.example, but for acme.example, mail.acme.example"
    )
    assert shown(host)[1] == serial(host.read(FILES["certificate"]) or b"")


def test_a_key_of_the_company_that_does_not_fit_is_not_waited_for() -> None:
    host, tls = running(), {"mode": "files", **FILES}
    own_certificate(host, "*.acme.example")
    host.write(FILES["key"], issued("*.acme.example", number=2).key, mode=0o600)
    outcome = go_up(host, tls=tls)["certs:issued"]
    assert (outcome.state, outcome.hint) == (State.FAILED, "mend the files under [tls]")


def test_behind_a_proxy_mail_and_calls_go_without_or_have_files() -> None:
    """The proxy has the certificates of the pages; `[tls]` may name others for what it does not pass on."""
    host = empty()
    go_up(host, tls={"mode": "off"})
    assert shown(host) == (None, SELF_SIGNED)
    [text] = certs.missing(stack(tls={"mode": "off"}), host)
    assert text.startswith("the proxy in front has the certificates: turn.acme.example and mail.acme.example have none")
    tls = {"mode": "off", **FILES}
    own_certificate(host, "mail.acme.example", "turn.acme.example")
    go_up(host, tls=tls)
    assert certs.missing(stack(tls=tls), host) == []
    assert set(shown(host)) == {serial(host.read(FILES["certificate"]) or b"")}


def test_only_what_the_site_has_is_served() -> None:
    host = empty()
    apps = {"coturn": False, "jitsi": False, "stalwart": False}
    outcomes = go_up(host, apps=apps)
    assert {name for name in outcomes if name.startswith("certs")} == {"certs:issued"}


GOOD = issued("mail.acme.example")
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("pair", "name", "text", "torn"),
    [
        (Pair(GOOD.certificate, issued("other").key), "mail.acme.example", "do not belong together", True),
        (Pair(b"", GOOD.key), "mail.acme.example", "cannot be read", True),
        (Pair(GOOD.certificate, GOOD.key[:60]), "mail.acme.example", "cannot be read", True),
        (GOOD, "turn.acme.example", "is not for turn.acme.example, but for mail.acme.example", False),
        (issued("*.example"), "mail.acme.example", "is not for mail.acme.example", False),
        (issued("mail.acme.example", days=-1), "mail.acme.example", "expired on", False),
    ],
)
def test_what_is_wrong_with_a_certificate(pair: Pair, name: str, text: str, torn: bool) -> None:
    found = fault(pair, name)
    assert found is not None
    assert text in found.text
    assert found.torn == torn


@pytest.mark.parametrize("names", [("mail.acme.example",), ("*.acme.example",), ("acme.example", "mail.acme.example")])
def test_a_certificate_that_is_fit(names: tuple[str, ...]) -> None:
    assert fault(issued(*names), "mail.acme.example", NOW) is None
