"""`kmuctl dns`: every record, as a table, for BIND, and for programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import as_json, kmuctl, site_file
from tests.cli.test_init import pretty
from tests.cli.test_operate import use
from tests.fakes import FakeHost
from tests.golden import golden
from tests.operations.scenes import FOLDER, running
from tests.support import stack

RELAY = '[mail]\nrelay = { host = "smtp.provider.example", username = "acme" }\n'
RSA = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA" + 300 * "x" + "IDAQAB"
SIGNATURES = {
    "s1": {
        "@type": "Dkim1Ed25519Sha256", "selector": "v1-ed25519-20261121", "stage": "active",
        "publicKey": "G9fRQuYb6TSdVUPCnbKIIptK+hnJIhcPowetD9FCOaU=",
    },
    "s2": {
        "@type": "Dkim1RsaSha256", "selector": "v1-rsa-20261121", "stage": "active", "publicKey": RSA,
    },
}  # fmt: skip


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A machine on which mail runs and has its keys."""
    site_file()
    host = running()
    sign(host, **SIGNATURES)
    return use(monkeypatch, host)


def sign(host: FakeHost, **signatures: dict[str, str]) -> None:
    """Keys that Stalwart has made, of which we know the public half."""
    with host.http.stalwart.service.store.transaction() as tables:
        [(domain, row)] = tables["x:Domain"].items()
        row["_dkim"] = True  # and makes no more
        found = {key: {"domainId": domain, **signature} for key, signature in signatures.items()}
        tables.setdefault("x:DkimSignature", {}).update(found)


def forget(host: FakeHost, name: str, *keys: str) -> None:
    with host.http.stalwart.service.store.transaction() as tables:
        for key in keys or [*tables[name]]:
            del tables[name][key]


def test_as_json(up: FakeHost) -> None:
    """K21, D53: the shape is a contract."""
    result = kmuctl("--json", "dns")
    golden("dns.json", pretty(as_json(result)))
    assert kmuctl("dns", "--format", "json").stdout == result.stdout


def test_as_a_zone_file(up: FakeHost) -> None:
    """K21, D53: long texts in several strings; tests/tools lets BIND read it."""
    result = kmuctl("dns", "--format", "zone")
    golden("dns.zone", result.stdout)
    assert result.stderr == ""


def test_as_a_table(up: FakeHost) -> None:
    """K21: whole values, what reverse DNS must say, and why a record is missing that others need."""
    text = kmuctl("dns").stdout
    rows = [line.split() for line in text.splitlines()]
    for record in stack().records():
        assert [record.name, record.type, *record.value.split()] in rows
    assert ["v1-rsa-20261121._domainkey", "TXT", "v=DKIM1;", "k=rsa;", "h=sha256;", f"p={RSA}"] in rows
    assert "Reverse DNS, set at the server's provider: 203.0.113.7 -> mail.acme.example.\n" in text
    assert "Matrix needs no record: https://acme.example/.well-known/matrix/server leads to the server" in text


def test_the_records_are_those_that_init_shows(up: FakeHost) -> None:
    """One source."""
    known = [(record.name, record.type, record.value) for record in stack().records()]
    shown = [(item["name"], item["type"], item["value"]) for item in as_json(kmuctl("dns", "--json"))["records"]]
    assert shown[: len(known)] == known
    assert len(shown) == len(known) + len(SIGNATURES)


def test_nothing_is_asked_that_changes_anything(up: FakeHost) -> None:
    before = up.snapshot()
    kmuctl("dns")
    assert up.snapshot() == before


@pytest.mark.parametrize("stage", ["pending", "retiring"])
def test_a_key_that_comes_or_goes_is_published(up: FakeHost, stage: str) -> None:
    sign(up, s3=SIGNATURES["s1"] | {"selector": "v2-ed25519", "stage": stage})
    assert "v2-ed25519._domainkey" in kmuctl("dns").stdout


def test_a_key_that_is_no_longer_used_is_not_published(up: FakeHost) -> None:
    sign(up, s3=SIGNATURES["s1"] | {"selector": "v0-ed25519", "stage": "retired"})
    assert "v0-ed25519" not in kmuctl("dns").stdout


def test_keys_of_another_domain_are_not_ours(up: FakeHost) -> None:
    sign(up, s3=SIGNATURES["s1"] | {"selector": "theirs", "domainId": "d2"})
    assert "theirs" not in kmuctl("dns").stdout


@pytest.mark.parametrize(
    ("missing", "warning"),
    [
        ("container", "Stalwart does not run (run `kmuctl dns` again when it does)"),
        ("key file", "kmuctl has no key to Stalwart yet (`kmuctl up` makes it)"),
        ("domain", "Stalwart has made 0 of 2 keys so far (run `kmuctl dns` again when it does)"),
        ("signature", "Stalwart has made 1 of 2 keys so far (run `kmuctl dns` again when it does)"),
        ("right key", "Stalwart refuses kmuctl's key (run `kmuctl up`: it makes a new one)"),
    ],
)
def test_without_dkim_the_others_are_shown_and_it_is_said(up: FakeHost, missing: str, warning: str) -> None:
    """A gap, never a wrong record."""
    match missing:
        case "container":
            up.engine.stop("kmu", "stalwart")
        case "key file":
            up.remove(f"{FOLDER}/state/stalwart.key")
        case "domain":
            forget(up, "x:DkimSignature")
            forget(up, "x:Domain")
        case "signature":
            forget(up, "x:DkimSignature", "s2")
        case "right key":
            up.write(f"{FOLDER}/state/stalwart.key", b"old")
    result = kmuctl("dns")
    assert result.stderr == f"warning: no DKIM records: {warning}\n"
    assert "10 mail.acme.example." in result.stdout
    assert "_domainkey" not in result.stdout
    assert f"; no DKIM records: {warning}\n" in kmuctl("dns", "--format", "zone").stdout


def test_a_server_that_cannot_be_reached_hides_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    site_file()
    result = kmuctl("--host", "ssh://root@127.0.0.1:1", "dns")
    assert result.stderr.startswith("warning: no DKIM records: 127.0.0.1, port 1: the connection is refused (")
    assert "10 mail.acme.example." in result.stdout


def test_without_mail_there_is_nothing_to_miss(host: FakeHost) -> None:
    site_file("[apps]\nstalwart = false\n")
    result = kmuctl("dns")
    assert result.stderr == ""
    assert "Reverse DNS" not in result.stdout


def test_a_gap_is_never_published(up: FakeHost) -> None:
    """The relay's SPF name is the admin's to say, and so is an address that nobody knows."""
    text = site_file(RELAY).read_text().replace('ipv4 = "203.0.113.7"', "")
    site_file().write_text(text)
    result = kmuctl("dns", "--format", "zone")
    assert 'warning: SPF: add `spf = "..."` to the relay under [mail]' in result.stderr
    assert "warning: the server's address is not known: put it into [host] ipv4" in result.stderr
    lines = result.stdout.splitlines()
    assert '; incomplete: @ IN TXT "v=spf1 mx include:<SPF name of smtp.provider.example> -all"' in lines
    assert not [line for line in lines if "<" in line and not line.startswith("; ")]
    data = as_json(kmuctl("dns", "--json"))
    assert {"A", "TXT"} == {record["type"] for record in data["incomplete"]}
    assert not [record for record in data["records"] if "<" in record["value"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dns", "--format", "yaml"), "--format: `yaml` is unknown"),
        (("--json", "dns", "--format", "zone"), "--json and --format zone exclude each other"),
    ],
)
def test_formats_that_are_none(arguments: tuple[str, ...], message: str) -> None:
    site_file()
    result = kmuctl(*arguments, code=2)
    assert message in result.stdout + result.stderr
