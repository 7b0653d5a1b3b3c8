"""Whose key it is: what gpg says of the same file, and nothing else passes for a key."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmuctl.operations.harden.openpgp import fingerprints

KEY = Path(__file__).parents[2].joinpath("data/openpgp-key.asc").read_bytes()
FINGERPRINT = "E321225F2BF5A6037A0DA89A836FCD290C0243A2"
"""As `gpg --fingerprint` shows it."""


def armour(blob: bytes) -> bytes:
    body = b64encode(blob).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}\n-----END PGP PUBLIC KEY BLOCK-----\n".encode()


def packet(body: bytes, tag: int) -> bytes:
    """With a length of two octets, as RSA keys have it."""
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


def test_the_fingerprint_is_that_of_gpg() -> None:
    assert fingerprints(KEY) == [FINGERPRINT]


def test_line_ends_of_another_system() -> None:
    assert fingerprints(KEY.replace(b"\n", b"\r\n")) == [FINGERPRINT]


def test_every_key_of_a_file_is_named() -> None:
    """One more would be trusted as well."""
    bodies = [b"\x04" + bytes([number]) * 300 for number in (1, 2)]
    blob = packet(bodies[0], 6) + packet(b"a user", 13) + packet(bodies[1], 6)
    expected = [sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper() for body in bodies]  # noqa: S324
    assert fingerprints(armour(blob)) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"", b"<html>404</html>", KEY + KEY, b"deb http://evil.example ./\n" + KEY, KEY[: len(KEY) // 2],
        armour(b"\x98"), armour(packet(b"\x04" + bytes(9), 6)[:-1]), armour(packet(b"\x03" + bytes(9), 6)),
    ],
)  # fmt: skip
def test_what_is_no_single_whole_key(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(is|holds|has) "):
        fingerprints(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_refused(blob: bytes) -> None:
    for text in (blob, armour(blob)):
        try:
            assert all(len(found) == 40 for found in fingerprints(text))
        except ValueError as error:
            assert str(error)
