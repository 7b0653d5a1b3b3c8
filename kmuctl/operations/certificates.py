"""What a certificate says: whether it is fit for a name, and which one it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


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
