"""What a single value of the site file may look like: each function gives it back, or says in a ValueError what is off.

They are asked by the site file's tables, and by `init` for each answer.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import zoneinfo

import idna

RESERVED_USERS = frozenset({
    "root", "admin", "administrator", "akadmin", "noreply", "postmaster", "abuse", "hostmaster", "webmaster",
    "ldapservice", "kmu-break-glass", "kmuctl", "kmuctl-admin", "www-data", "nobody",
})  # fmt: skip
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
HOST_LENGTH = 253
"""Of a whole host name, as DNS has it."""
DOMAIN_LENGTH = HOST_LENGTH - len("autodiscover.")
"""So that the longest host of the stack fits below the domain."""
JOINER = "\u200d"
"""Makes one picture of several emoji, a family for instance. Python does not count it as printable."""


def ascii_domain(text: str) -> str:
    """The ASCII form of a domain name; ValueError says in plain words what is wrong with it."""
    if "://" in text:
        raise ValueError(f"has a scheme: give `{text.split('://', 1)[1].strip('/') or 'acme.example'}`")
    if "/" in text:
        raise ValueError(f"has a path: give `{text.split('/', 1)[0]}`")
    if ":" in text:
        raise ValueError(f"has a port: give `{text.split(':', 1)[0]}`")
    if "_" in text:
        raise ValueError("has an underscore, which no host name may have")
    if text != text.strip() or " " in text:
        raise ValueError("has a space in it")
    if text.endswith("."):
        raise ValueError(f"ends with a dot: give `{text.rstrip('.')}`")
    if text != text.lower():
        raise ValueError(f"has capitals: give `{text.lower()}`")
    if len(labels := text.split(".")) < 2:
        raise ValueError("is a single label: a domain has at least two, like `acme.example`")
    if long := [label for label in labels if len(label) > 63]:
        raise ValueError(f"has a label of {len(long[0])} characters: at most 63 are allowed")
    return _idna(text)


def _idna(text: str) -> str:
    try:
        name = idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"is not a domain name ({error})") from None
    if name.rsplit(".", 1)[1].isdigit():
        raise ValueError("looks like an IP address: kmuctl needs a domain name")
    if not all(LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("is not a domain name: labels have letters, digits and inner hyphens")
    if len(name) > DOMAIN_LENGTH:
        raise ValueError(f"is {len(name)} characters long: with `autodiscover.` before it at most {DOMAIN_LENGTH} fit")
    return name


def user_name(text: str) -> str:
    """A sign-on name that is also a Matrix id and a mail address (upstream/matrix-coturn-caddy.md 1.5)."""
    if text in RESERVED_USERS:
        raise ValueError(f"`{text}` is reserved: take a person's name, like `mmustermann`")
    if not re.fullmatch(r"[a-z][a-z0-9._-]{0,31}", text) or text.endswith("."):
        raise ValueError("may have lower-case letters a-z, digits, `.`, `_`, `-`; a letter first, at most 32")
    return text


def system_user(text: str) -> str:
    """An account of the machine itself, as useradd(8) takes it."""
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", text):
        raise ValueError(f"`{text}` is not a name of a user of the server, like `debian`")
    return text


def nextcloud_app(text: str) -> str:
    """An app's id in Nextcloud's store."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise ValueError("is no id of a Nextcloud app: those have a-z, digits and `_`, as in the app store's addresses")
    return text


def free_text(text: str) -> str:
    """A name as people write it. A joiner with nothing to join would be an invisible difference."""
    text = text.strip()
    stray = re.search(rf"(?<!\S){JOINER}|{JOINER}(?!\S)|{JOINER}{JOINER}", text)
    if stray or not 1 <= len(text) <= 100 or not text.replace(JOINER, "").isprintable():
        raise ValueError("must be 1 to 100 printable characters on one line")
    return text


def mail_address(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", text):
        raise ValueError("is not a mail address like `max@acme.example`")
    return text.lower()


def record_name(text: str) -> str:
    """A name that only DNS knows; unlike a host's it may have underscores."""
    label = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
    if not re.fullmatch(rf"({label}\.)+{label}", text) or len(text) > HOST_LENGTH:
        raise ValueError("is not a name like `spf.provider.example`")
    return text


def time_zone(text: str) -> str:
    known = zoneinfo.available_timezones()
    if text not in known:
        near = difflib.get_close_matches(text, known, n=1)
        raise ValueError("is not a time zone" + (f": did you mean `{near[0]}`?" if near else " like `Europe/Berlin`"))
    return text


def host_address(text: str) -> str:
    if text != "local" and not re.fullmatch(r"ssh://([\w.-]+@)?([\w.-]+|\[[\w:.%]+\])(:\d{1,5})?", text):
        raise ValueError('must be "local" or like "ssh://root@203.0.113.7:22"')
    return text


def any_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(f"`{text}` is not an address or network") from None


def absolute_path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", text) or {".", ".."} & set(text.split("/")):
        raise ValueError("must be an absolute path of letters, digits, `.`, `_`, `-`, like `/opt/kmu`")
    return text


def own_folder(text: str) -> str:
    if absolute_path(text).count("/") < 2:
        raise ValueError(f"`{text}` belongs to the system: name a folder of its own, like `/opt/kmu`")
    return text


def pinned_image(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._/:-]*:[\w][\w.-]*(@sha256:[0-9a-f]{64})?", text) or text.endswith(":latest"):
        raise ValueError("must name a fixed tag, like `caddy:2.11.7` (never `latest`)")
    return text


def network_range(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("is not a network like `10.231.112.0/20`") from None
    if not isinstance(network, ipaddress.IPv4Network) or network.prefixlen != 20 or not network.is_private:
        raise ValueError("must be a private IPv4 network of size /20, like `10.231.112.0/20`")
    return text


def ipv4_address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"`{text}` is not an IPv4 address like `203.0.113.7`") from None


def no_ipv6(text: str) -> str:
    """The containers' networks are IPv4 only: a visitor by IPv6 would reach nothing."""
    raise ValueError("this version serves IPv4 only: leave it out, and set no AAAA record")


def language_code(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2}", text):
        raise ValueError(f"`{text}` is not a language code of two small letters, like `de`")
    return text


def hex_color(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(f"`{text}` is not a colour of `#` and six digits from 0 to f, like `#2a6f97`")
    return text


def web_address(text: str) -> str:
    if not re.fullmatch(r"https://[^\s\"'<>]+", text):
        raise ValueError("is not an https address, like `https://www.acme.example/logo.svg`")
    return text


def keeping_time(text: str) -> str:
    """As Synapse reads it, without what would be a slip for a message: seconds, minutes, hours."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}[dwy]", text):
        raise ValueError(f"`{text}` is not a number of days, weeks or years, like `365d`, `52w` or `1y`")
    return text


def clock_time(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f"`{text}` is not a time of day, like `02:30`")
    return text


def upstream_address(text: str) -> str:
    host, _, number = text.rpartition(":")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) or not re.fullmatch(r"[0-9]{1,5}", number):
        raise ValueError(f"`{text}` is not a host and a port, like `192.0.2.10:3000`")
    return f"{host}:{port_number(int(number))}"


def own_port(text: str) -> str:
    """A port or range with its protocol."""
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/(tcp|udp)", text)
    if not found:
        raise ValueError(f"`{text}` is not a port with its protocol, like `8081/tcp` or `9000-9010/udp`")
    first, last = port_number(int(found[1])), port_number(int(found[2] or found[1]))
    if found[2] and first >= last:
        raise ValueError(f"`{text}` is no range: its second port is not above the first one")
    return f"{first}-{last}/{found[3]}" if found[2] else f"{first}/{found[3]}"


def port_number(number: int) -> int:
    if not 1 <= number <= 65535:
        raise ValueError(f"{number} is not a port: ports go from 1 to 65535")
    return number
