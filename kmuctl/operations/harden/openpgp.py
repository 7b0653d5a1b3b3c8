"""Whose key a file holds, as far as a fingerprint says: RFC 4880, armour and version 4 keys. Needs no gpg there."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from hashlib import sha1

PUBLIC_KEY = 6
"""The tag of a primary key's packet."""


def fingerprints(armoured: bytes) -> list[str]:
    """Of every primary key in the file; ValueError when it holds something else than keys.

    All of them, because whoever trusts the file trusts each.
    """
    try:
        return [_fingerprint(body) for tag, body in _packets(_unwrap(armoured)) if tag == PUBLIC_KEY]
    except (IndexError, Base64Error, UnicodeDecodeError):
        raise ValueError("is no armoured OpenPGP key") from None


def _fingerprint(body: bytes) -> str:
    if body[0] != 4:
        raise ValueError(f"holds a key of version {body[0]}, not 4")
    return sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324 (the standard's)


def _unwrap(armoured: bytes) -> bytes:
    """The one block: headers end at an empty line, a checksum begins with `=`."""
    head, *blocks = armoured.decode("ascii").split("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    if head.strip() or len(blocks) != 1:
        raise ValueError("is not one armoured OpenPGP key")
    body, _, rest = blocks[0].partition("-----END PGP PUBLIC KEY BLOCK-----")
    if rest.strip():
        raise ValueError("holds more than one armoured OpenPGP key")
    lines = body.replace("\r\n", "\n").partition("\n\n")[2].splitlines()
    return b64decode("".join(line for line in lines if not line.startswith("=")), validate=True)


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        first = data[at]
        if not first & 0x80:
            raise ValueError("is no OpenPGP key")
        tag, length, start = _new_header(data, at) if first & 0x40 else _old_header(data, at)
        if start + length > len(data):
            raise ValueError("is cut off")
        yield tag, data[start : start + length]
        at = start + length


def _old_header(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, length, where the body starts."""
    size = 1 << (data[at] & 0x03)
    if size == 8:
        raise ValueError("is cut off")
    return (data[at] >> 2) & 0x0F, int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size


def _new_header(data: bytes, at: int) -> tuple[int, int, int]:
    tag, first = data[at] & 0x3F, data[at + 1]
    if first < 192:
        return tag, first, at + 2
    if first < 224:
        return tag, ((first - 192) << 8) + data[at + 2] + 192, at + 3
    if first < 255:
        raise ValueError("has a key in pieces")
    return tag, int.from_bytes(data[at + 2 : at + 6], "big"), at + 6
