"""Certificates: where those of the site lie, whether one is fit for a name, and which one it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kmuctl.model.host import Reader
from kmuctl.model.stack import Stack
from kmuctl.operations.caddy import CADDY

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


ISSUERS = {
    ("acme", False): "acme-v02.api.letsencrypt.org-directory",
    ("acme", True): "acme-staging-v02.api.letsencrypt.org-directory",
    ("internal", False): "local",
    ("internal", True): "local",
}
"""Folders in Caddy's storage (upstream/matrix-coturn-caddy.md 6.3)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a certificate is of no use. `torn`: of two files that change one after the other one may be the new one."""

    text: str
    torn: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def together(self) -> bytes:
        """One file for both, so that nobody ever reads an old key with a new certificate.

        The certificate comes first: Stalwart takes the first block for it, whatever it is.
        """
        return self.certificate.rstrip() + b"\n" + self.key.rstrip() + b"\n"


def fault(pair: Pair, name: str, now: datetime | None = None) -> Fault | None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        leaf, key = _leaf(pair.certificate), load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as error:
        return Fault(f"certificate or key cannot be read: {error}", torn=True)
    if leaf.public_key() != key.public_key():
        return Fault("key and certificate do not belong together", torn=True)
    if not covers(leaf, name):
        return Fault(f"the certificate is not for {name}, but for {', '.join(names(leaf)) or 'nothing'}")
    if leaf.not_valid_after_utc <= (now or datetime.now(UTC)):
        return Fault(f"the certificate of {name} expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    return None


def serial(content: bytes) -> int:
    """Of the first certificate in it."""
    return _leaf(content).serial_number


def covers(leaf: Certificate, name: str) -> bool:
    """As clients judge: the name itself, or all names beside it."""
    _, _, parent = name.partition(".")
    return bool({name, f"*.{parent}"} & set(names(leaf)))


def names(leaf: Certificate) -> list[str]:
    from cryptography import x509

    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in found.get_values_for_type(x509.DNSName)]


def _leaf(content: bytes) -> Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificates(content)[0]


def of_caddy(stack: Stack) -> bool:
    """Caddy gets certificates and renews them, by itself."""
    return (stack.site.tls.mode, stack.site.tls.staging) in ISSUERS


def has_source(stack: Stack) -> bool:
    return stack.site.tls.mode != "off" or stack.site.tls.given is not None


def pair_of(stack: Stack, host: Reader, name: str) -> Pair | None:
    certificate, key = (host.read(path) for path in files_of(stack, name))
    return Pair(certificate, key) if certificate and key else None


def files_of(stack: Stack, name: str) -> tuple[str, str]:
    """Certificate and key of a name: of Caddy's making, or the company's own as Caddy serves it."""
    tls = stack.site.tls
    if tls.mode == "files":
        folder = stack.data(CADDY, "certs")
        return f"{folder}/site.crt", f"{folder}/site.key"
    if tls.given:
        return tls.given
    folder = f"{stack.data(CADDY, 'data')}/caddy/certificates/{ISSUERS[tls.mode, tls.staging]}/{name}"
    return f"{folder}/{name}.crt", f"{folder}/{name}.key"


def without(stack: Stack, host: Reader) -> list[str]:
    """Public names whose certificate Caddy is still to get."""
    if not of_caddy(stack):
        return []
    files = {name: files_of(stack, name) for name in stack.hosts()}
    present = host.facts(path for pair in files.values() for path in pair)
    return [name for name, pair in files.items() if not present.keys() >= set(pair)]
