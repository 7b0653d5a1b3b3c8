"""Every DNS record that the site needs: those that follow from the site file, and the keys that only Stalwart knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from kmuctl.model.errors import HostError
from kmuctl.model.host import Reader
from kmuctl.model.service import Record
from kmuctl.model.stack import Stack
from kmuctl.operations.preflight import refuse_other_site
from kmuctl.operations.stalwart.registry import CONTAINER, Registry, Row, known_key

TTL = 3600
STRING = 255
"""Bytes that one string of a TXT record holds; a longer text is several."""
DKIM = {"Dkim1Ed25519Sha256": "ed25519", "Dkim1RsaSha256": "rsa"}
PUBLISHED = ("pending", "active", "retiring")
"""Stages of a key in which others must find it."""
LATER = "run `kmuctl dns` again when it does"


@dataclass(frozen=True, slots=True)
class Reverse:
    """What the address leads back to; set at the provider of the server, not in the domain's zone."""

    address: str
    value: str

    @property
    def name(self) -> str:
        return f"{IPv4Address(self.address).reverse_pointer}."


def reverse(stack: Stack) -> tuple[Reverse, ...]:
    """Other mail servers refuse one whose address has no name, or another than it greets with."""
    address = stack.site.host.ipv4
    return (Reverse(address, f"{stack.site.fqdn('mail')}."),) if address and "stalwart" in stack else ()


def keys(stack: Stack, host: Reader) -> tuple[Record, ...]:
    """The public keys that mail of the domain is signed with. Raises HostError when they cannot be known yet."""
    if "stalwart" not in stack:
        return ()
    refuse_other_site(stack, host)
    fact = host.engine.containers(stack.project, [CONTAINER]).get(CONTAINER)
    if fact is None or fact.state != "running":
        raise HostError("Stalwart does not run", hint=LATER)
    key = known_key(stack, host)
    if key is None:
        raise HostError("kmuctl has no key to Stalwart yet", hint="`kmuctl up` makes it")
    registry = Registry(key)
    domains = [row["id"] for row in registry.find(host, "Domain", {"name": stack.site.domain})]
    rows = [row for domain in domains for row in registry.find(host, "DkimSignature", {"domainId": domain})]
    found = [_key(row) for row in rows if row["@type"] in DKIM and row["stage"] in PUBLISHED]
    if len(found) < len(DKIM):
        raise HostError(f"Stalwart has made {len(found)} of {len(DKIM)} keys so far", hint=LATER)
    return tuple(sorted(found, key=lambda record: record.name))


def _key(row: Row) -> Record:
    text = f"v=DKIM1; k={DKIM[row['@type']]}; h=sha256; p={row['publicKey']}"
    return Record(f"{row['selector']}._domainkey", "TXT", text)


def lacking(records: Iterable[Record]) -> list[str]:
    """What the site file would have to say for the records to be complete."""
    types = {record.type for record in records if not record.complete}
    known = {
        "A": "the server's address is not known: put it into [host] ipv4",
        "TXT": 'SPF: add `spf = "..."` to the relay under [mail], the name that your relay\'s guide says to include',
    }
    return [text for kind, text in known.items() if kind in types]


def remarks(stack: Stack) -> list[str]:
    """What is not in the records, and why, or what to mind."""
    found = []
    if "synapse" in stack:
        found.append(f"Matrix needs no record: {stack.site.base_url}/.well-known/matrix/server leads to the server")
    if any(record.type == "CAA" for record in stack.records()):
        found.append("CAA: if anybody else makes certificates for names of this domain, add their authority too")
    return found


def zone(stack: Stack, records: Sequence[Record], comments: Iterable[str]) -> str:
    """For a zone file, without SOA and NS. What is incomplete stands as a comment: nobody may publish it."""
    lines = [
        f"; {stack.site.domain}: records for kmuctl, to be added to the zone",
        *(f"; {comment}" for comment in comments),
        f"$ORIGIN {stack.site.domain}.",
        f"$TTL {TTL}",
        *(_line(record) for record in records),
        *(f"; at the server's provider: {item.name} IN PTR {item.value}" for item in reverse(stack)),
    ]
    return "\n".join(lines)


def _line(record: Record) -> str:
    value = " ".join(_strings(record.value)) if record.type == "TXT" else record.value
    return f"{'' if record.complete else '; incomplete: '}{record.name} IN {record.type} {value}"


def _strings(text: str) -> list[str]:
    """The text in quoted strings of at most 255 bytes. Ours are ASCII, with nothing to escape."""
    return [f'"{text[start : start + STRING]}"' for start in range(0, len(text), STRING)]
