"""`kmuctl init`: flags, files, what it tells."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    "name", [AWKWARD_NAME, "# [x]", '"""', "\\u0041\\", "👩🏽‍💻 ﷽" if "👩🏽‍💻 ﷽".isprintable() else "﷽"]
)
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
    """K101 U57: secrets, state and rendered files never reach git."""
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


def test_a_folder_that_cannot_be() -> None:
    Path("file").write_text("", encoding="utf-8")
    result = init("--directory", "file/x", code=2)
    assert "cannot write `file/x/kmu.toml`: Not a directory" in result.stderr


def test_records_ports_and_the_next_command_are_shown() -> None:
    """K21 K22 D36."""
    text = init().stdout
    rows = [line.split() for line in text.splitlines()]
    for record in stack().records():
        assert [record.name, record.type, *record.value.split()] in rows
    for port in stack().ports():
        assert [str(port), *port.purpose.split()] in rows
    assert "next: kmuctl --site kmu.toml up" in text


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


def test_another_server_is_not_asked_for_its_address() -> None:
    init(ipv4="", host="ssh://root@203.0.113.9")
    site = load_site(Path("kmu.toml"), NAMES)
    assert (site.host.address, site.host.ipv4) == ("ssh://root@203.0.113.9", None)


def test_yes_asks_nothing() -> None:
    assert "--yes" not in FLAGS
    init("--yes")
