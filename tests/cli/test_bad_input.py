"""Bad input: one clear message with the key path and a hint, exit code 2, no traceback, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import FLAGS, as_json, init, kmuctl, program, site_file, written
from tests.fakes import FakeHost
from tests.support import AWKWARD_NAME, CORE

HINT = "hint: mend the lines above; the commented example is in the README, `kmuctl init` writes a new file"

UPSTREAMS = {"high": "192.0.2.10:99999", "low": "192.0.2.10:0", "none": "192.0.2.10", "fine": "192.0.2.10:65535"}
SITE_FILES = {
    "unknown key": (
        CORE.replace("name = ", "nmae = ", 1),
        ["name: is missing", "nmae: unknown key: did you mean `name`?"],
    ),
    "unknown key in a table": (CORE + '[tls]\nmod = "acme"\n', ["tls.mod: unknown key: did you mean `mode`?"]),
    "unknown table": (CORE + "[wiki]\non = true\n", ["wiki: unknown key"]),
    "wrong type": (CORE.replace('"ACME GmbH"', "5"), ['name: must be a text in quotes, like "this"']),
    "text for a switch": (CORE + '[apps]\njitsi = "no"\n', ["apps.jitsi: must be `true` or `false`, without quotes"]),
    "text for a table": ('domain = "acme.example"\nname = "A"\nadmin = "me"\n', ["admin: must be a table"]),
    "nothing at all": ("", ["domain: is missing", "name: is missing", "admin: is missing"]),
    "unknown app": (
        CORE + "[apps]\nwiki = true\n",
        ["apps.wiki: no such app; known: coturn, dozzle, element, jitsi, nextcloud, panel, stalwart, synapse"],
    ),
    "essential app off": (CORE + "[apps]\npostgres = false\n", ["apps.postgres: cannot be switched off"]),
    "unknown container": (CORE + '[images]\nwiki = "wiki:1"\n', ["images.wiki: no such container"]),
    "floating image": (
        CORE + '[images]\ncaddy = "caddy:latest"\n',
        ["images.caddy: must name a fixed tag, like `caddy:2.11.7` (never `latest`)"],
    ),
    "taken site": (CORE + '[sites]\ncloud = { upstream = "a:1" }\n', ["sites.cloud: is taken by the stack itself"]),
    "ports of sites": (
        CORE + "[sites]\n" + "".join(f'{name} = {{ upstream = "{to}" }}\n' for name, to in UPSTREAMS.items()),
        [
            "sites.high.upstream: 99999 is not a port: ports go from 1 to 65535",
            "sites.low.upstream: 0 is not a port: ports go from 1 to 65535",
            "sites.none.upstream: `192.0.2.10` is not a host and a port, like `192.0.2.10:3000`",
        ],
    ),
    "site too long for DNS": (
        CORE.replace("acme.example", ".".join(["a" * 59] * 4), 1) + f'[sites]\n{"b" * 14} = {{ upstream = "a:1" }}\n',
        [f"sites.{'b' * 14}: is too long: with the domain at most 253 characters fit"],
    ),
    "site that is no host name": (CORE + '[sites]\n"a_b" = { upstream = "a:1" }\n', ["sites.a_b: is not a host name"]),
    "time zone": (
        CORE.replace("[admin]", 'timezone = "Europe/Berln"\n[admin]'),
        ["timezone: is not a time zone: did you mean `Europe/Berlin`?"],
    ),
    "language": (
        CORE.replace("[admin]", 'language = "deu"\n[admin]'),
        ["language: `deu` is not a language code of two small letters, like `de`"],
    ),
    "colour": (
        CORE + '[branding]\ncolor = "red"\n',
        ["branding.color: `red` is not a colour of `#` and six digits from 0 to f, like `#2a6f97`"],
    ),
    "logo": (
        CORE + '[branding]\nlogo = "logo.svg"\n',
        ["branding.logo: is not an https address, like `https://www.acme.example/logo.svg`"],
    ),
    "backup": (
        CORE + '[backup]\nschedule = "25:00"\nkeep = { daily = -1 }\n',
        ["backup.schedule: `25:00` is not a time of day, like `02:30`", "backup.keep.daily: must be at least 0"],
    ),
    "TLS mode": (CORE + '[tls]\nmode = "le"\n', ['tls.mode: must be "acme", "internal", "files" or "off"']),
    "certificate missing": (CORE + '[tls]\nmode = "files"\n', ['tls.mode: "files" needs tls.certificate and tls.key']),
    "public certificate for a test domain": (
        CORE.replace("acme.example", "kmu.test", 1),
        ['tls.mode: no public certificate exists for `kmu.test`: use "internal"'],
    ),
    "subnet too big": (
        CORE + '[network]\nsubnet = "10.0.0.0/8"\n',
        ["network.subnet: must be a private IPv4 network of size /20, like `10.231.112.0/20`"],
    ),
    "proxies": (
        CORE + '[network]\ntrusted_proxies = ["here"]\n',
        ["network.trusted_proxies: `here` is not an address or network"],
    ),
    "proxies that are no list": (
        CORE + '[network]\ntrusted_proxies = "192.0.2.1"\n',
        ['network.trusted_proxies: must be a list, like `["198.51.100.4/32"]`'],
    ),
    "host address": (
        CORE.replace("[host]", '[host]\naddress = "root@server"'),
        ['host.address: must be "local" or like "ssh://root@203.0.113.7:22"'],
    ),
    "public address": (
        CORE.replace("203.0.113.7", "203.0.113"),
        ["host.ipv4: `203.0.113` is not an IPv4 address like `203.0.113.7`"],
    ),
    "IPv6": (
        CORE + 'ipv6 = "2001:db8::7"\n',
        ["host.ipv6: this version serves IPv4 only: leave it out, and set no AAAA record"],
    ),
    "folder": (
        CORE.replace("[host]", '[host]\nfolder = "../kmu"'),
        ["host.folder: must be an absolute path of letters, digits, `.`, `_`, `-`, like `/opt/kmu`"],
    ),
    "name on two lines": (
        CORE.replace("ACME GmbH", "a\\nb"),
        ["name: must be 1 to 100 printable characters on one line"],
    ),
    "spf of a relay": (
        CORE + '[mail]\nrelay = { host = "smtp.x.example", username = "a", spf = "include:_spf.x.example" }\n',
        ["mail.relay.spf: is not a name like `spf.provider.example`"],
    ),
    "half a certificate": (
        CORE + '[tls]\nmode = "off"\ncertificate = "/etc/ssl/site.crt"\n',
        ["tls: `certificate` and `key` go together"],
    ),
    "relay": (
        CORE + '[mail]\nrelay = { host = "smtp_x.example", port = 0 }\n',
        [
            "mail.relay.host: has an underscore, which no host name may have",
            "mail.relay.port: 0 is not a port: ports go from 1 to 65535",
            "mail.relay.username: is missing",
        ],
    ),
}


@pytest.mark.parametrize(("text", "lines"), SITE_FILES.values(), ids=SITE_FILES)
def test_site_file(text: str, lines: list[str]) -> None:
    """K102 U30: every problem in a line of its own, with its key path."""
    Path("kmu.toml").write_text(text, encoding="utf-8")
    result = kmuctl("render", code=2)
    head, *rest = result.stderr.splitlines()
    assert head == "error: `kmu.toml` is not a valid site file:"
    for line in lines:
        assert any(known.startswith(f"  {line}") for known in rest), result.stderr
    assert len([line for line in rest if line.startswith("  ")]) == len(lines)
    assert rest[-1] == HINT
    assert result.stdout == ""
    assert written() == ["kmu.toml"]


@pytest.mark.parametrize("command", ["render", "up", "down", "status"])
def test_every_command_refuses_a_bad_site_file(command: str) -> None:
    Path("kmu.toml").write_text("nmae = 1\n", encoding="utf-8")
    assert "nmae: unknown key" in kmuctl(command, code=2).stderr


OPEN = "what begins here is not closed: `]`, `}` or a quote is missing"
TOML = {
    "open table": ("a = 1\n[tls\n", "line 2, column 5: `]` is missing after the name of a table"),
    "open list": ("a = 1\nb = [1,\n\n", f"line 2: {OPEN}"),
    "open list before another key": ("a = 1\nb = [\n1\nc = 2\n", f"line 2: {OPEN}"),
    "open inline table": ("a = { b = 1", f"line 1: {OPEN}"),
    "open text": ('a = 1\nb = "x\nc = 1\n', "line 2, column 7: a text is not closed: its quote is missing"),
    "open text at the end": ('a = 1\nb = "x', f"line 2: {OPEN}"),
    "unquoted text": (
        "domain = acme\n",
        'line 1, column 10: a value is expected: a text stands in quotes ("acme"), a switch is `true` or `false`',
    ),
    "table twice": ("[admin]\n[admin]\n", "line 2, column 7: this table stands twice"),
    "key twice": ("a = 1\na = 2\n", "line 2, column 6: this key stands twice"),
    "key and table": ("[x]\na = 1\n[x.a]\n", "line 3, column 5: this key stands twice"),
    "key alone": ("a\n", 'line 1, column 2: `=` is missing: a line is like `name = "ACME GmbH"`'),
    "backslash": (
        'folder = "C:\\x"\n',
        "a backslash in a text is written twice; between single quotes once is enough",
    ),
}


@pytest.mark.parametrize(("text", "reason"), TOML.values(), ids=TOML)
def test_broken_toml(text: str, reason: str) -> None:
    Path("kmu.toml").write_text(text, encoding="utf-8")
    result = kmuctl("render", code=2)
    said, hint = result.stderr.removeprefix("error: `kmu.toml` is not valid TOML: ").split("\n\n")
    assert said.endswith(reason)
    assert said.startswith("line ")
    assert hint == "hint: mend that place; the commented example is in the README\n"


def test_no_site_file() -> None:
    result = kmuctl("--site", "nope.toml", "render", code=2)
    assert result.stderr == (
        "error: no site file at `nope.toml`\n\nhint: run `kmuctl init` first, or name it: `--site FILE`\n"
    )


def test_a_folder_for_a_site_file() -> None:
    Path("here").mkdir()
    result = kmuctl("--site", "here", "render", code=2)
    assert result.stderr == "error: `here` is a folder\n\nhint: name the file in it: `--site here/kmu.toml`\n"


def test_a_site_file_that_is_no_text() -> None:
    Path("kmu.toml").write_bytes(b"\xff\xfe")
    assert "error: `kmu.toml` is not UTF-8 text" in kmuctl("render", code=2).stderr


DOMAINS = {
    "scheme": ("https://acme.example", "has a scheme: give `acme.example`"),
    "port": ("acme.example:443", "has a port: give `acme.example`"),
    "path": ("acme.example/", "has a path: give `acme.example`"),
    "underscore": ("ac_me.example", "has an underscore, which no host name may have"),
    "trailing dot": ("acme.example.", "ends with a dot: give `acme.example`"),
    "long label": ("a" * 64 + ".example", "has a label of 64 characters: at most 63 are allowed"),
    "too long for its hosts": (
        ".".join(["a" * 60] * 4),
        "is 243 characters long: with `autodiscover.` before it at most 240 fit",
    ),
    "capitals": ("ACME.example", "has capitals: give `acme.example`"),
    "bare top level": ("example", "is a single label: a domain has at least two, like `acme.example`"),
    "blank": ("ac me.example", "has a space in it"),
    "address": ("203.0.113.7", "looks like an IP address: kmuctl needs a domain name"),
    "two dots": ("acme..example", "is not a domain name"),
    "hyphen in front": ("-acme.example", "is not a domain name"),
    "broken Punycode": ("xn--zz.example", "is not a domain name"),
    "right-to-left mixture": ("a\u05d0b.example", "is not a domain name"),
}


@pytest.mark.parametrize(("domain", "message"), DOMAINS.values(), ids=DOMAINS)
def test_domain(domain: str, message: str) -> None:
    """K29: with the correction where there is one; the same words for the flag and for the file."""
    assert f"  --domain: {message}" in init(domain=domain, code=2).stderr
    assert written() == []
    Path("kmu.toml").write_text(CORE.replace("acme.example", domain, 1), encoding="utf-8")
    assert f"  domain: {message}" in kmuctl("render", code=2).stderr


RESERVED = "is reserved: take a person's name, like `mmustermann`"
FORM = "may have lower-case letters a-z, digits, `.`, `_`, `-`; a letter first, at most 32"
USERS = {
    **{name: (name, f"`{name}` {RESERVED}") for name in ("root", "admin", "akadmin", "kmu-break-glass")},
    "blank": ("max m", FORM),
    "umlaut": ("müller", FORM),
    "capitals": ("Max", FORM),
    "digit first": ("1max", FORM),
    "too long": ("m" * 33, FORM),
    "dot at the end": ("max.", FORM),
}


@pytest.mark.parametrize(("user", "message"), USERS.values(), ids=USERS)
def test_admin_user(user: str, message: str) -> None:
    """K30."""
    result = init(admin_user=user, code=2)
    assert result.stderr == (
        f"error: cannot make a site file:\n  --admin-user: {message}\n\n"
        "hint: mend these options; `kmuctl init` on a terminal asks for what is missing\n"
    )
    assert written() == []
    Path("kmu.toml").write_text(CORE.replace("mmustermann", user), encoding="utf-8")
    assert f"  admin.username: {message}" in kmuctl("render", code=2).stderr


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("ipv4", "203.0.113", "`203.0.113` is not an IPv4 address like `203.0.113.7`"),
        ("ipv4", "300.0.113.7", "`300.0.113.7` is not an IPv4 address like `203.0.113.7`"),
        ("tls", "le", 'must be "acme", "internal", "files" or "off"'),
        ("host", "server", 'must be "local" or like "ssh://root@203.0.113.7:22"'),
        ("folder", "/opt", "`/opt` belongs to the system: name a folder of its own, like `/opt/kmu`"),
        ("language", "deu", "`deu` is not a language code of two small letters, like `de`"),
        ("timezone", "Europe/Berln", "is not a time zone: did you mean `Europe/Berlin`?"),
    ],
)
def test_other_flags_of_init(flag: str, value: str, message: str) -> None:
    """The message names the flag: there is no file yet."""
    result = init(code=2, **{flag: value})
    assert f"  --{flag}: {message}\n" in result.stderr
    assert "kmu.toml" not in result.stderr
    assert written() == []


def test_all_bad_flags_of_init_are_named_at_once() -> None:
    result = init("--trial", code=2, name=" ", timezone="Mars", language="deu", ipv4="1", admin_email="x")
    lines = [line.split(":")[0] for line in result.stderr.splitlines() if line.startswith("  ")]
    assert lines == ["  --name", "  --language", "  --timezone", "  --admin-email", "  --ipv4"]


def test_flags_of_init_that_do_not_fit_together() -> None:
    text = init(code=2, domain="acme.test").stderr
    assert '  --tls: no public certificate exists for `acme.test`: use "internal"\n' in text
    assert written() == []


def test_an_error_as_json() -> None:
    """One object on standard output, nothing else anywhere."""
    result = kmuctl("--json", "--site", "nope.toml", "status", code=2)
    assert as_json(result) == {
        "format": 1,
        "error": "no site file at `nope.toml`",
        "hint": "run `kmuctl init` first, or name it: `--site FILE`",
        "exit_code": 2,
    }
    assert result.stderr == ""


USAGE = {
    "no command": (("--json",), "Missing command."),
    "unknown command": (("--json", "deploy"), "No such command 'deploy'."),
    "unknown option": (("up", "--json", "--fast"), "No such option: --fast"),
    "unknown option, --json after it": (("up", "--fast", "--json"), "No such option: --fast"),
    "unknown option of all": (("--fast", "--json", "up"), "No such option: --fast"),
    "missing argument": (("logs", "--json"), "Missing argument 'SERVICE|CONTAINER'."),
    "bad value": (("--json", "logs", "-n", "none", "caddy"), "Invalid value for '--lines' / '-n': "),
    "no dashes before a command": (("--json", "exec", "caddy", "ls", "-l"), "No such option: -l"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_a_usage_error_as_json(arguments: tuple[str, ...], message: str) -> None:
    result = kmuctl(*arguments, code=2)
    data = as_json(result)
    assert message in data.pop("error")
    hint = "`kmuctl --help` lists the commands, `kmuctl COMMAND --help` what one takes"
    assert data == {"format": 1, "hint": hint, "exit_code": 2}
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [("up", "--fast"), ("exec", "caddy", "--fast", "--", "ls", "--json")])
def test_a_usage_error_as_text(arguments: tuple[str, ...]) -> None:
    """What stands behind `--` is not ours."""
    result = kmuctl(*arguments, code=2)
    assert result.stderr.startswith("Usage: ")
    assert "Error: No such option: --fast" in result.stderr
    assert result.stdout == ""


def test_a_good_command_with_json_keeps_its_exit_code(host: FakeHost) -> None:
    site_file()
    assert as_json(kmuctl("status", "--json", code=3))["ok"] is False
    assert kmuctl("--json", "status", "--help").stdout.startswith("Usage: ")


def test_messages_keep_awkward_text_as_it_is() -> None:
    """No markup of ours is read into what a person wrote."""
    Path("kmu.toml").write_text(CORE.replace("[host]", "[host]\n'[red]x[/red]' = 1"), encoding="utf-8")
    assert "host.[red]x[/red]: unknown key" in kmuctl("render", code=2).stderr


def test_messages_keep_colons_as_they_are() -> None:
    """`:key:` is no picture of a key."""
    assert "no site file at `:key:`" in kmuctl("--site", ":key:", "render", code=2).stderr


def test_an_awkward_name_works() -> None:
    init(name=AWKWARD_NAME, admin_name=AWKWARD_NAME)
    kmuctl("render")
    assert "kmu.toml" in written()


def test_a_program_ends_without_a_traceback() -> None:
    site_file("[wiki]\n")
    result = program("render")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert FLAGS["--domain"] not in result.stdout
