"""The site file at the door: what is allowed, what is derived, what is refused."""

from __future__ import annotations

from typing import Any

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmuctl.model.errors import ConfigError, Problems
from kmuctl.model.site import Names, check_site, read_site
from kmuctl.model.values import DOMAIN_LENGTH, HOST_LENGTH, RESERVED_USERS, ascii_domain, user_name
from kmuctl.services import NAMES
from tests.support import AWKWARD_NAME, CORE, site


def test_defaults() -> None:
    """K102: three decisions and an administrator make a site."""
    core = site()
    assert (core.language, core.timezone, core.tls.mode) == ("de", "Europe/Berlin", "acme")
    assert (core.host.address, core.host.folder) == ("local", "/opt/kmu")
    assert core.apps == {}
    assert core.enabled("nextcloud")


def test_names_are_derived_from_the_domain() -> None:
    """K105 U55: nothing that follows from the domain is written down a second time."""
    core = site(domain="cloud.acme.example")
    assert core.base_dn == "dc=cloud,dc=acme,dc=example"
    assert core.fqdn("auth") == "auth.cloud.acme.example"
    assert core.fqdn("") == "cloud.acme.example"
    assert core.url("auth") == "https://auth.cloud.acme.example"
    assert core.base_url == "https://cloud.acme.example"


def test_a_site_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        site().domain = "other.example"


def test_an_idn_has_two_forms() -> None:
    """K29."""
    umlaut = site(domain="müller-kmu.de")
    assert (umlaut.domain, umlaut.display_domain) == ("xn--mller-kmu-q9a.de", "müller-kmu.de")
    assert site(domain="xn--mller-kmu-q9a.de") == umlaut
    assert umlaut.base_dn.isascii()


def test_sharp_s_and_its_old_spelling_are_two_domains() -> None:
    """Today's rules (IDNA 2008), not those of 2003."""
    assert ascii_domain("straße.de") == "xn--strae-oqa.de"


def test_messages_are_kept_for_ever_unless_the_company_says_otherwise() -> None:
    assert site().chat.retention is None
    assert site(chat={"retention": "52w"}).chat.retention == "52w"


@pytest.mark.parametrize("text", ["365", "1h", "0d", "30 days", "-1d", "365D", ""])
def test_a_time_that_synapse_would_read_otherwise_or_not_at_all(text: str) -> None:
    with pytest.raises(ConfigError, match=r"chat\.retention: .*365d"):
        site(chat={"retention": text})


@pytest.mark.parametrize("name", [AWKWARD_NAME, "ACME", "x", "日本 株式会社", "a" * 100, "Familie 👨‍👩‍👧"])
def test_a_name_may_hold_anything_printable(name: str) -> None:
    assert site(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "a\tb", "a\x00b", "a\u2028b", "a\u202eb", "a" * 101, "a\u200d", "\u200d", "a \u200db"]
)
def test_a_name_is_one_printable_line(name: str) -> None:
    with pytest.raises(ConfigError, match="name: must be 1 to 100 printable characters on one line"):
        site(name=name)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        site(domain="x", name="", timezone="Mars", apps={"postgres": False, "wiki": True}, images={"x": "y"})
    assert [line.split(":")[0].strip() for line in caught.value.message.splitlines()[1:]] == [
        "domain", "name", "timezone", "images.x", "apps.wiki", "apps.postgres", "images.x",
    ]  # fmt: skip


def test_the_longest_host_of_the_stack_fits_below_the_longest_domain() -> None:
    assert DOMAIN_LENGTH + max(len(f"{host}.") for host in NAMES.hosts) == HOST_LENGTH
    longest = ".".join(["a" * 59] * 3 + ["b" * 60])
    assert len(ascii_domain(longest)) == DOMAIN_LENGTH


@pytest.mark.parametrize("user", sorted(RESERVED_USERS))
def test_reserved_users(user: str) -> None:
    with pytest.raises(ValueError, match="is reserved"):
        user_name(user)


@pytest.mark.parametrize("user", ["m", "max.mustermann", "m-1_2", "m" * 32])
def test_good_users(user: str) -> None:
    assert user_name(user) == user


@pytest.mark.parametrize(("subnet", "good"), [
    ("10.231.112.0/20", True), ("192.168.16.0/20", True), ("172.16.0.0/20", True),
    ("10.231.112.0/21", False), ("10.231.113.0/20", False), ("8.8.0.0/20", False), ("fd00::/20", False), ("x", False),
])  # fmt: skip
def test_subnets(subnet: str, good: bool) -> None:
    """K32."""
    if good:
        assert site(network={"subnet": subnet}).network.subnet == subnet
    else:
        with pytest.raises(ConfigError, match=r"network\.subnet: "):
            site(network={"subnet": subnet})


@pytest.mark.parametrize("mode", ["acme", "internal", "off"])
def test_tls_modes(mode: str) -> None:
    """U53."""
    assert site(tls={"mode": mode}).tls.mode == mode


def test_tls_from_files() -> None:
    """U53."""
    files = {"mode": "files", "certificate": "/etc/ssl/acme.pem", "key": "/etc/ssl/acme.key"}
    assert site(tls=files).tls.certificate == "/etc/ssl/acme.pem"


def test_a_site_is_checked_against_the_catalog_that_is_given() -> None:
    with pytest.raises(ConfigError, match=r"apps\.nextcloud: no such app"):
        check_site(read_raw(), Names(), path="kmu.toml")
    assert "nextcloud" in NAMES.apps


def read_raw() -> dict[str, object]:
    import tomllib

    return tomllib.loads(CORE + "[apps]\nnextcloud = false\n")


@given(st.text())
def test_any_text_is_read_or_refused_as_toml(text: str) -> None:
    """The parser's own errors never escape."""
    try:
        read_site(text, NAMES, path="kmu.toml")
    except ConfigError as error:
        assert "`kmu.toml` is not" in error.message


DOMAIN_LIKE = st.text("aA1-._:/äßİıא中。\u200d\u00adxn @", max_size=70)


@given(st.one_of(st.text(max_size=80), DOMAIN_LIKE, st.lists(DOMAIN_LIKE, max_size=4).map(".".join)))
def test_a_domain_is_ascii_or_a_value_error(text: str) -> None:
    """K29: whatever is typed; and what is accepted once is accepted again, unchanged."""
    try:
        name = ascii_domain(text)
    except ValueError as error:
        assert str(error)
        return
    assert name.isascii()
    assert name == name.lower()
    assert ascii_domain(name) == name
    assert ascii_domain(idna.decode(name)) == name


@given(st.from_regex(r"\A[a-zäöü0-9]([a-zäöü0-9]{0,10}[a-zäöü0-9])?\.(de|example)\Z"))
def test_ordinary_german_domains_work(text: str) -> None:
    assert idna.decode(ascii_domain(text)) == text


@pytest.mark.parametrize("user", ["admin", "debian", "ubuntu", "_apt", "max-m"])
def test_the_machines_own_users_have_other_names_than_people(user: str) -> None:
    """K27."""
    assert site(harden={"docker_users": [user]}).harden.docker_users == (user,)


def test_ports_of_the_company_s_own() -> None:
    assert site(harden={"ports": ["08081/tcp", "9000-9010/udp"]}).harden.ports == ("8081/tcp", "9000-9010/udp")


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"ports": [8081]}, 'harden.ports.0: must be a text in quotes, like "this"'),
        (
            {"ports": ["8081"]},
            "harden.ports.0: `8081` is not a port with its protocol, like `8081/tcp` or `9000-9010/udp`",
        ),
        ({"ports": ["70000/tcp"]}, "harden.ports.0: 70000 is not a port: ports go from 1 to 65535"),
        (
            {"ports": ["90-80/tcp"]},
            "harden.ports.0: `90-80/tcp` is no range: its second port is not above the first one",
        ),
        (
            {"docker_users": ["Max"]},
            "harden.docker_users.0: `Max` is not a name of a user of the server, like `debian`",
        ),
        ({"docker_source": "snap"}, 'harden.docker_source: must be "docker" or "distro"'),
        ({"allow": ["office"]}, "harden.allow.0: `office` is not an address or network"),
        ({"undo_minutes": 0}, "harden.undo_minutes: must be at least 1"),
        ({"reboot": "4"}, "harden.reboot: `4` is not a time of day, like `02:30`"),
        ({"fierwall": False}, "harden.fierwall: unknown key: did you mean `firewall`?"),
    ],
)
def test_what_harden_does_not_understand(wanted: dict[str, Any], line: str) -> None:
    with pytest.raises(Problems) as caught:
        site(harden=wanted)
    assert caught.value.found == [line]
