"""DOUBLE of Jitsi Videobridge: a bridge in the brewery room, and a STUN answer on the media port."""

import asyncio
import ipaddress
import os
import secrets
import socket
import struct
from pathlib import Path

from environment import check_config_folder, check_environment, check_run_folder, fatal
from xmpp import Member, log, serve_health, setting

COOKIE = 0x2112A442
Address = tuple[str, int]


def binding_request(transaction: bytes) -> bytes:
    return struct.pack("!HHI", 0x0001, 0, COOKIE) + transaction


def xor_mapped_address(address: Address, transaction: bytes) -> bytes:
    host = ipaddress.ip_address(address[0].partition("%")[0])
    key = struct.pack("!I", COOKIE) + transaction
    hidden = bytes(a ^ b for a, b in zip(host.packed, key, strict=False))
    value = struct.pack("!BBH", 0, 1 if host.version == 4 else 2, address[1] ^ (COOKIE >> 16)) + hidden
    return struct.pack("!HH", 0x0020, len(value)) + value


def answer(message: bytes, address: Address) -> bytes | None:
    """A binding success for a binding request; media and anything else is dropped, as no conference exists."""
    if len(message) < 20 or struct.unpack("!HHI", message[:8])[0::2] != (0x0001, COOKIE):
        return None
    attribute = xor_mapped_address(address, message[8:20])
    return struct.pack("!HHI", 0x0101, len(attribute), COOKIE) + message[8:20] + attribute


class MediaPort(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        reply = answer(data, addr)
        if reply:
            self.transport.sendto(reply, addr)


def port_answers(port: int) -> bool:
    transaction = secrets.token_bytes(12)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(binding_request(transaction), ("127.0.0.1", port))
        try:
            return client.recv(512)[8:20] == transaction
        except OSError:
            return False


async def run(password: str) -> None:
    port = int(setting("JVB_PORT", "10000"))
    await asyncio.get_running_loop().create_datagram_endpoint(MediaPort, local_addr=("0.0.0.0", port))
    log(
        f"media port {port}/udp, advertised as {setting('JVB_ADVERTISE_IPS', '(nothing: calls of three or more fail)')}"
    )

    async def health() -> tuple[int, str]:
        good = await asyncio.to_thread(port_answers, port)
        return (200, "OK") if good else (500, "the media port does not answer")

    await serve_health("127.0.0.1", 8080, health)
    nickname = setting("JVB_MUC_NICKNAME", socket.gethostname())
    await Member(setting("JVB_AUTH_USER", "jvb"), password, nickname, is_bridge=True).keep_connected()


def main() -> None:
    log("DOUBLE of Jitsi Videobridge, not the real program")
    check_environment(Path(__file__).parent / "variables.txt")
    check_run_folder()
    check_config_folder(r"custom-jvb\.conf|custom-sip-communicator\.properties")
    password = os.environ.get("JVB_AUTH_PASSWORD") or fatal("JVB_AUTH_PASSWORD must be set")
    asyncio.run(run(password))


if __name__ == "__main__":
    main()
