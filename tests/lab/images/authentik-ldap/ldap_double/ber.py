"""As much BER and as many LDAP messages as bind and search need."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

Item = tuple[int, bytes]
Attributes = dict[str, list[str]]
SEQUENCE, INTEGER, OCTETS, ENUMERATED, SET = 0x30, 0x02, 0x04, 0x0A, 0x31
BIND, UNBIND, SEARCH, ABANDON, EXTENDED = 0x60, 0x42, 0x63, 0x50, 0x77
BOUND, ENTRY, DONE, EXTENDED_ANSWER = 0x61, 0x64, 0x65, 0x78


class Malformed(Exception):
    """Not LDAP, or LDAP that the double does not know."""


def pack(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    return pack(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def text(value: str, tag: int = OCTETS) -> bytes:
    return pack(tag, value.encode())


def split(content: bytes) -> list[Item]:
    items: list[Item] = []
    while content:
        tag, length, start = content[0], content[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(content[2:start], "big")
        items.append((tag, content[start : start + length]))
        content = content[start + length :]
    return items


def read_message(stream: BinaryIO) -> tuple[int, Item] | None:
    """The message id and the operation; None at the end of the connection."""
    head = stream.read(2)
    if len(head) < 2:
        return None
    if head[0] != SEQUENCE:
        raise Malformed("no LDAP message")
    length = head[1]
    if length & 0x80:
        length = int.from_bytes(stream.read(length & 0x7F), "big")
    items = split(stream.read(length))
    return int.from_bytes(items[0][1], "big"), items[1]


def message(number: int, operation: bytes) -> bytes:
    return pack(SEQUENCE, integer(number), operation)


def result(tag: int, code: int, diagnostic: str = "") -> bytes:
    return pack(tag, integer(code, ENUMERATED), text(""), text(diagnostic))


def entry(name: str, attributes: Attributes) -> bytes:
    rows = [
        pack(SEQUENCE, text(key), pack(SET, *[text(value) for value in values])) for key, values in attributes.items()
    ]
    return pack(ENTRY, text(name), pack(SEQUENCE, *rows))


def asked_for(item: Item) -> Iterator[tuple[str, str]]:
    """Attributes with the values that the real outpost hands on: the server compares them letter by letter."""
    tag, content = item
    if tag == 0xA0:
        for part in split(content):
            yield from asked_for(part)
    elif tag == 0xA3:
        (_, name), (_, value) = split(content)
        if name in (b"cn", b"displayName", b"mail"):
            yield name.decode(), value.decode()


def matches(item: Item, attributes: Attributes) -> bool:
    """Evaluates a search filter; attribute names and values compare without case."""
    tag, content = item
    if tag not in FILTERS:
        raise Malformed(f"filter choice {tag:#x} is not known to the double")
    return FILTERS[tag](
        content, {key.lower(): [value.lower() for value in values] for key, values in attributes.items()}
    )


def _equal(content: bytes, attributes: Attributes) -> bool:
    (_, name), (_, value) = split(content)
    return value.decode().lower() in attributes.get(name.decode().lower(), [])


def _present(content: bytes, attributes: Attributes) -> bool:
    return content.decode().lower() in attributes


def _substrings(content: bytes, attributes: Attributes) -> bool:
    (_, name), (_, parts) = split(content)
    return any(_contains(value, split(parts)) for value in attributes.get(name.decode().lower(), []))


def _contains(value: str, parts: list[Item]) -> bool:
    for tag, part in parts:
        wanted = part.decode().lower()
        place = value.find(wanted)
        if place < 0 or (tag == 0x80 and place != 0) or (tag == 0x82 and not value.endswith(wanted)):
            return False
        value = value[place + len(wanted) :] if tag != 0x82 else value
    return True


FILTERS: dict[int, Callable[[bytes, Attributes], bool]] = {
    0xA0: lambda content, attributes: all(matches(part, attributes) for part in split(content)),
    0xA1: lambda content, attributes: any(matches(part, attributes) for part in split(content)),
    0xA2: lambda content, attributes: not matches(split(content)[0], attributes),
    0xA3: _equal,
    0xA4: _substrings,
    0x87: _present,
}
