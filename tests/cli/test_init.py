"""`kmuctl init`: flags, files, what it tells."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from kmuctl.model.site import load_site
from kmuctl.services import NAMES
from tests.cli.runner import FLAGS, as_json, init, kmuctl, written
from tests.fakes import FakeHost
from tests.golden import golden
from tests.support import AWKWARD_NAME, stack


def test_flags_become_a_site_file() -> None:
    """K29 K30 U7: commented, complete, and valid."""
    init()
    site = load_site(Path("kmu.toml"), NAMES)
    assert (site.domain, site.name, site.admin.username) == ("acme.example", "ACME GmbH", "mmustermann")
    assert (site.tls.mode, site.host.address, site.host.ipv4) == ("acme", "local", "203.0.113.7")
    assert "# jitsi = false" in Path("kmu.toml").read_text()


def test_every_commented_example_in_the_file_is_valid() -> None:
    """U7: take the `#` away and it works."""
    init()
    lines = Path("kmu.toml").read_text(encoding="utf-8").splitlines()
    examples = [line.removeprefix("# ") if " = " in line and line.startswith("# ") else line for line in lines]
    Path("kmu.toml").write_text("\n".join(examples), encoding="utf-8")
    assert len(tomllib.loads("\n".join(examples))) > len(tomllib.loads("\n".join(lines))) - 1
    load_site(Path("kmu.toml"), NAMES)


def test_no_secret_is_in_the_site_file() -> None:
    """K102: no password of the admin, in clear or otherwise."""
    init()
    assert "password" not in Path("kmu.toml").read_text().lower()


@pytest.mark.parametrize("name", [AWKWARD_NAME, "# [x]", '"""', "\\u0041\\", "👩🏽‍💻 ﷽"])
def test_an_awkward_name_survives(name: str) -> None:
    init(name=name, admin_name=name)
    site = load_site(Path("kmu.toml"), NAMES)
    assert (site.name, site.admin.name) == (name, name)


def test_missing_flags_are_all_named() -> None:
    """K30: nobody is asked where nobody is there."""
    result = kmuctl("init", "--name", "ACME GmbH", code=2)
    assert [line for line in result.stderr.splitlines() if line.startswith("  ")] == [
        f"  {flag}: is missing" for flag in ("--domain", "--admin-user", "--admin-name", "--admin-email")
    ]
    assert written() == []


def test_a_site_file_is_never_overwritten() -> None:
    Path("kmu.toml").write_text("mine", encoding="utf-8")
    result = init(code=2)
    assert result.stderr.startswith("error: `kmu.toml` exists")
    assert Path("kmu.toml").read_text() == "mine"
    assert written() == ["kmu.toml"]


def test_gitignore_is_written() -> None:
    """U4 K101 U57: secrets, state and rendered files never reach git."""
    init()
    assert Path(".gitignore").read_text() == "secrets.env\nrendered/\ndata/\nstate/\n"


@pytest.mark.parametrize("present", ["*.log\ndata/", "*.log\ndata/\n"])
def test_a_gitignore_is_kept(present: str) -> None:
    """K101."""
    Path(".gitignore").write_text(present, encoding="utf-8")
    init()
    assert Path(".gitignore").read_text() == "*.log\ndata/\nsecrets.env\nrendered/\nstate/\n"


def test_another_folder() -> None:
    init("--directory", "sites/acme")
    assert written() == ["sites/acme/.gitignore", "sites/acme/kmu.toml"]


def test_a_gitignore_in_another_encoding_is_kept() -> None:
    """Git does not care about it either."""
    Path(".gitignore").write_bytes("größe\n".encode("latin-1"))
    init()
    assert Path(".gitignore").read_bytes() == "größe\n".encode("latin-1") + b"secrets.env\nrendered/\ndata/\nstate/\n"


@pytest.mark.parametrize("directory", ["file", "file/x"])
def test_a_folder_that_cannot_be(directory: str) -> None:
    Path("file").write_text("", encoding="utf-8")
    result = init("--directory", directory, code=2)
    assert "file` is not a folder\n\nhint: choose another --directory\n" in result.stderr
    assert written() == ["file"]


def test_a_folder_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is asked. Root may write everywhere, so the answer is made up."""
    monkeypatch.setattr("os.access", lambda path, mode: mode in (os.F_OK, os.R_OK))
    assert kmuctl("init", code=2).stderr == (
        "error: this user may not write in `.`\n\nhint: use sudo, or choose another --directory\n"
    )


def test_a_folder_that_refuses() -> None:
    assert "error: cannot write `/proc/kmu`: No such file" in init("--directory", "/proc/kmu", code=2).stderr


def test_nothing_is_half_written() -> None:
    Path(".gitignore").mkdir()
    assert "error: cannot write `.gitignore`: Is a directory" in init(code=2).stderr
    assert written() == []


@pytest.mark.parametrize(
    ("address", "warned"),
    [("10.1.2.3", True), ("172.31.0.1", True), ("192.168.178.20", True), ("100.64.1.1", True), ("169.254.0.9", True),
     ("127.0.0.1", True), ("203.0.113.7", False), ("198.51.100.9", False), ("172.32.0.1", False), ("9.9.9.9", False)],
)  # fmt: skip
def test_an_address_that_nobody_can_reach(address: str, warned: bool) -> None:
    """K21: documentation's addresses are not private ones."""
    said = init(ipv4=address).stderr
    assert said == (f"warning: {address} is a private address: put the public one into [host] ipv4\n" if warned else "")


def test_no_value_is_cut_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """K21: a record that goes through a pipe is whole."""
    monkeypatch.setenv("COLUMNS", "40")
    lines = [line.split() for line in init(domain="a-rather-long-name.example").stdout.splitlines()]
    value = "v=DMARC1; p=quarantine; rua=mailto:postmaster@a-rather-long-name.example"
    assert ["_dmarc", "TXT", *value.split()] in lines


def test_records_ports_and_the_next_command_are_shown() -> None:
    """K21 K22 D36."""
    text = init().stdout
    rows = [line.split() for line in text.splitlines()]
    for record in stack().records():
        assert [record.name, record.type, *record.value.split()] in rows
    for port in stack().ports():
        assert [str(port), *port.purpose.split()] in rows
    assert "next: kmuctl --site kmu.toml harden\n      kmuctl --site kmu.toml up\n" in text


def test_the_next_command_can_be_pasted() -> None:
    assert "next: kmuctl --site 'our site/kmu.toml' harden\n" in init("--directory", "our site").stdout


def test_as_json() -> None:
    """K21 K22: the same for programs; the shape is a contract."""
    result = init("--json")
    golden("init.json", pretty(as_json(result)))
    assert result.stderr == ""


def test_trial_as_json() -> None:
    golden("init-trial.json", pretty(as_json(kmuctl("init", "--trial", "--json"))))


def pretty(data: object) -> str:
    import json

    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def test_trial_needs_no_answer() -> None:
    """U53 D31 D36: an own CA, lines for the hosts file, where the certificate will be."""
    text = kmuctl("init", "--trial").stdout
    site = load_site(Path("kmu.toml"), NAMES)
    assert (site.domain, site.tls.mode) == ("kmu.test", "internal")
    for host in ("", "www", "auth", "cloud", "matrix", "element", "meet", "mail", "logs", "admin"):
        assert f"  127.0.0.1 {site.fqdn(host)}\n" in text
    assert "/opt/kmu/data/caddy/data/caddy/pki/authorities/local/root.crt" in text
    assert "MX" not in text


def test_trial_with_answers_of_ones_own() -> None:
    kmuctl("init", "--trial", "--name", "Mine", "--domain", "my.test")
    site = load_site(Path("kmu.toml"), NAMES)
    assert (site.name, site.domain, site.tls.mode) == ("Mine", "my.test", "internal")


def test_an_idn_is_shown_in_both_forms() -> None:
    """K29."""
    result = init(domain="müller-kmu.de")
    assert result.stdout.startswith("wrote `kmu.toml` for müller-kmu.de (xn--mller-kmu-q9a.de in DNS)\n")
    assert "10 mail.xn--mller-kmu-q9a.de." in result.stdout
    assert 'domain   = "müller-kmu.de"' in Path("kmu.toml").read_text(encoding="utf-8")


def test_an_idn_as_json() -> None:
    data = as_json(init("--json", domain="müller-kmu.de"))
    assert (data["display_domain"], data["domain"]) == ("müller-kmu.de", "xn--mller-kmu-q9a.de")


def test_this_machines_address_is_found() -> None:
    """K21."""
    init(ipv4="")
    assert load_site(Path("kmu.toml"), NAMES).host.ipv4 == "198.51.100.9"


def test_without_an_address_the_records_say_so(host: FakeHost) -> None:
    host.teach("ip", "-json", "-4", "route", "get", code=2, stderr="unreachable")
    text = init(ipv4="").stdout
    assert "<the server's IPv4 address>" in text
    assert load_site(Path("kmu.toml"), NAMES).host.ipv4 is None


def test_yes_asks_nothing() -> None:
    assert "--yes" not in FLAGS
    init("--yes")


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("ssh://root@203.0.113.9", "203.0.113.9"),
        ("ssh://203.0.113.9:2222", "203.0.113.9"),
        ("ssh://root@server.acme.example", None),
        ("ssh://root@[2001:db8::1]", None),
    ],
)
def test_a_server_is_not_asked_for_its_address(host: str, known: str | None, tmp_path: Path) -> None:
    """From a laptop only what was typed is known."""
    init("--directory", str(tmp_path), host=host, ipv4="")
    site = load_site(tmp_path / "kmu.toml", NAMES)
    assert (site.host.address, site.host.ipv4) == (host, known)
