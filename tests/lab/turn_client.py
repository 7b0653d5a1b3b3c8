"""Enough of a TURN client (RFC 8656) to be relayed, or to be told the reason why not."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import ssl
import struct
from base64 import b64encode
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType

MAGIC = 0x2112A442
BINDING, ALLOCATE, REFRESH, CREATE_PERMISSION, SEND, DATA_INDICATION = 0x001, 0x003, 0x004, 0x008, 0x016, 0x017
SUCCESS = 0x100
USERNAME, INTEGRITY, ERROR_CODE, LIFETIME, PEER, DATA, REALM, NONCE, RELAYED, TRANSPORT = (
    0x0006, 0x0008, 0x0009, 0x000D, 0x0012, 0x0013, 0x0014, 0x0015, 0x0016, 0x0019,
)  # fmt: skip
UDP = bytes([17, 0, 0, 0])
Attributes = dict[int, bytes]


class Refused(Exception):
    """The server's error code."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


def credential(secret: str, expires: int, name: str = "lab") -> tuple[str, str]:
    """User name and password that are good until a time, from the shared secret alone."""
    user = f"{expires}:{name}"
    return user, b64encode(hmac.digest(secret.encode(), user.encode(), "sha1")).decode()


@dataclass
class TurnClient:
    """One allocation on a TURN server."""

    server: tuple[str, int]
    user: str
    password: str
    _realm: bytes = b""
    _nonce: bytes = b""
    tcp: bool = False
    tls: tuple[ssl.SSLContext, str] | None = None
    """How to check the certificate, and the name in it."""
    relayed: tuple[str, int] = ("", 0)
    """Where others reach us through the server."""
    _socket: socket.socket = field(init=False)

    def __enter__(self) -> TurnClient:
        stream = self.tcp or self.tls
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self._socket.connect(self.server)
        if self.tls:
            context, name = self.tls
            self._socket = context.wrap_socket(self._socket, server_hostname=name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(self._socket):
            if self.relayed[1] and not error:
                self._socket.send(self._signed(REFRESH, os.urandom(12), {LIFETIME: bytes(4)}))

    def allocate(self) -> None:
        """First without a name: the refusal brings realm and nonce."""
        try:
            self._ask(ALLOCATE, {TRANSPORT: UDP})
        except Refused as refused:
            if refused.code != 401:
                raise
        self.relayed = _plain_address(self._ask(ALLOCATE, {TRANSPORT: UDP})[RELAYED])

    def permit(self, peer: str) -> None:
        self._ask(CREATE_PERMISSION, {PEER: _xor_address(peer, 0)})

    def relay(self, peer: tuple[str, int], data: bytes) -> bytes:
        """Send to the peer through the server, and wait for what comes back the same way."""
        self.send(peer, data)
        return self.receive()

    def send(self, peer: tuple[str, int], data: bytes) -> None:
        self._socket.send(_message(SEND, os.urandom(12), {PEER: _xor_address(*peer), DATA: data}))

    def receive(self) -> bytes:
        """What the next peer sent us through the server."""
        while True:
            kind, _, attributes = _parse(self._receive())
            if kind == DATA_INDICATION:
                return attributes[DATA]

    def _receive(self) -> bytes:
        """One message: a datagram, or what a stream's header announces."""
        if not (self.tcp or self.tls):
            return self._socket.recv(2048)
        header = self._exactly(20)
        return header + self._exactly(struct.unpack("!H", header[2:4])[0])

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the server hung up")
            data += more
        return data

    def _ask(self, method: int, attributes: Attributes) -> Attributes:
        transaction = os.urandom(12)
        self._socket.send(
            self._signed(method, transaction, attributes) if self._nonce else _message(method, transaction, attributes)
        )
        while True:
            kind, answered, found = _parse(self._receive())
            if answered == transaction:
                break
        if kind == method | SUCCESS:
            return found
        self._realm, self._nonce = found.get(REALM, self._realm), found.get(NONCE, self._nonce)
        raise Refused(found[ERROR_CODE][2] * 100 + found[ERROR_CODE][3])

    def _signed(self, method: int, transaction: bytes, attributes: Attributes) -> bytes:
        """The HMAC covers the message as if it already had its own 24 bytes."""
        named = {**attributes, USERNAME: self.user.encode(), REALM: self._realm, NONCE: self._nonce}
        unsigned = _message(method, transaction, named, extra=24)
        key = hashlib.md5(b":".join([self.user.encode(), self._realm, self.password.encode()])).digest()  # noqa: S324
        return unsigned + struct.pack("!HH", INTEGRITY, 20) + hmac.digest(key, unsigned, "sha1")


def binding() -> bytes:
    """What everybody who speaks STUN answers, a bridge too: which address do you see?"""
    return _message(BINDING, os.urandom(12), {})


def answers(response: bytes, request: bytes) -> bool:
    kind, transaction, _ = _parse(response)
    return (kind, transaction) == (BINDING | SUCCESS, request[8:20])


def _message(kind: int, transaction: bytes, attributes: Attributes, *, extra: int = 0) -> bytes:
    body = b"".join(
        struct.pack("!HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in attributes.items()
    )
    return struct.pack("!HHI", kind, len(body) + extra, MAGIC) + transaction + body


def _parse(message: bytes) -> tuple[int, bytes, Attributes]:
    kind, length, _ = struct.unpack("!HHI", message[:8])
    attributes: Attributes = {}
    place = 20
    while place < 20 + length:
        name, size = struct.unpack("!HH", message[place : place + 4])
        attributes[name] = message[place + 4 : place + 4 + size]
        place += 4 + size + -size % 4
    return kind, message[8:20], attributes


def _plain_address(value: bytes) -> tuple[str, int]:
    port, number = struct.unpack("!HI", value[2:8])
    return socket.inet_ntoa(struct.pack("!I", number ^ MAGIC)), port ^ MAGIC >> 16


def _xor_address(host: str, port: int) -> bytes:
    number = struct.unpack("!I", socket.inet_aton(host))[0] ^ MAGIC
    return struct.pack("!BBHI", 0, 1, port ^ MAGIC >> 16, number)
