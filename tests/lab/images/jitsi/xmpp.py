"""The XMPP side of both doubles: one account, one room, and who in that room says it is a bridge."""

import asyncio
import os
import ssl
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Awaitable, Callable

import slixmpp

MUC = "{http://jabber.org/protocol/muc}x"
STATS = "{http://jitsi.org/protocol/colibri}stats"
Health = Callable[[], Awaitable[tuple[int, str]]]


def setting(name: str, default: str) -> str:
    return os.environ.get(name) or default


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class Member(slixmpp.ClientXMPP):
    """Logs in for ever (a wrong password is reported again and again, as upstream does) and joins the brewery."""

    def __init__(self, user: str, password: str, nickname: str, is_bridge: bool) -> None:
        super().__init__(f"{user}@{setting('XMPP_AUTH_DOMAIN', 'auth.meet.jitsi')}/{nickname}", password)
        brewery = setting("JVB_BREWERY_MUC", "jvbbrewery")
        self.ssl_context.check_hostname = (
            False  # Prosody's certificate is self-signed; upstream does not verify it either
        )
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.room = f"{brewery}@{setting('XMPP_INTERNAL_MUC_DOMAIN', 'internal-muc.meet.jitsi')}"
        self.nickname = nickname
        self.is_bridge = is_bridge
        self.joined = False
        self.bridges: set[str] = set()
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("failed_all_auth", self.on_refused)
        self.add_event_handler("disconnected", self.on_disconnected)
        self.add_event_handler("presence", self.on_presence)

    async def keep_connected(self) -> None:
        server = setting("XMPP_SERVER", "xmpp.meet.jitsi").split(",")[0].partition(":")
        port = int(server[2] or setting("XMPP_PORT", "5222"))
        while True:
            self.gone = asyncio.Event()
            log(f"connecting to {server[0]}:{port} as {self.boundjid.bare}")
            self.connect(server[0], port)
            await self.gone.wait()
            await asyncio.sleep(5)

    def on_refused(self, _: object) -> None:
        log(f"SASL authentication failed for {self.boundjid.bare}: the password is not the one in Prosody")
        self.disconnect()

    def on_disconnected(self, reason: object) -> None:
        log(f"disconnected: {reason}")
        self.joined = False
        self.bridges.clear()
        self.cancel_connection_attempt()
        self.gone.set()

    def on_start(self, _: object) -> None:
        log(f"logged in as {self.boundjid.bare}, joining {self.room}")
        presence = self.make_presence(pto=f"{self.room}/{self.nickname}")
        presence.append(ElementTree.Element(MUC))
        if self.is_bridge:
            presence.append(ElementTree.Element(STATS))
        presence.send()

    def on_presence(self, presence: slixmpp.Presence) -> None:
        if presence["from"].bare != self.room:
            return
        nickname = presence["from"].resource
        if presence["type"] == "error":
            log(f"cannot join {self.room}: {presence['error']['condition']} {presence['error']['text']}")
        elif presence["type"] == "unavailable":
            self.bridges.discard(nickname)
        else:
            self.joined = self.joined or nickname == self.nickname
            self.notice_bridge(presence, nickname)

    def notice_bridge(self, presence: slixmpp.Presence, nickname: str) -> None:
        if presence.xml.find(STATS) is not None and nickname not in self.bridges:
            self.bridges.add(nickname)
            log(f"bridge in {self.room}: {nickname}")


async def serve_health(address: str, port: int, health: Health) -> None:
    """GET /about/health, and 404 for everything else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readline()).decode("latin-1").split()
        code, text = await health() if words[1:2] == ["/about/health"] else (404, "not found")
        body = text.encode()
        writer.write(f"HTTP/1.1 {code} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    await asyncio.start_server(answer, address, port)
