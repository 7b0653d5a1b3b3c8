"""Certificates as Caddy has them: a leaf, signed by an authority that nobody knows, and its key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kmuctl.operations.certificates import Pair

AUTHORITY = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test Authority")])


@cache
def issued(*names: str, number: int = 1, days: int = 90) -> Pair:
    """The same one for the same wish; another `number` is the next renewal."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder(issuer_name=AUTHORITY, subject_name=x509.Name([]), public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Pair(leaf.public_bytes(serialization.Encoding.PEM), private)
