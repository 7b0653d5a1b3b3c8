"""A meeting's browser as far as signalling goes: XMPP over BOSH (XEP-0124, XEP-0206), through Caddy and nginx."""

from __future__ import annotations

import random
from base64 import b64encode
from dataclasses import dataclass, field
from types import TracebackType
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import httpx

from tests.lab.stack import LabSite

BIND, CLIENT, MUC = "http://jabber.org/protocol/httpbind", "jabber:client", "http://jabber.org/protocol/muc"
SASL, STREAMS = "urn:ietf:params:xml:ns:xmpp-sasl", "urn:ietf:params:xml:ns:xmpp-stanzas"
SERVICES = "urn:xmpp:extdisco:2"
ATTEMPTS = 20
"""Answers that a stanza is waited for in; the server holds each back for up to a second."""
Stanza = ElementTree.Element


class Refused(Exception):
    """The condition that the server names."""


@dataclass
class BoshClient:
    """One session; `domain` decides who may sign in how."""

    site: LabSite
    domain: str
    _browser: httpx.Client = field(init=False)
    _session: str = ""
    _number: int = field(default_factory=lambda: random.randrange(10**6))  # noqa: S311 (a serial number)
    mechanisms: set[str] = field(default_factory=set)

    def __enter__(self) -> BoshClient:
        self._browser = self.site.browser()
        opened = self._post("", to=self.domain, wait="1", hold="1", ver="1.6", **{"xml:lang": "en"}, **XMPP)
        if opened.get("type") == "terminate":
            raise Refused(opened.get("condition", "terminate"))
        self._session = opened.attrib["sid"]
        self.mechanisms = {found.text or "" for found in opened.iter(f"{{{SASL}}}mechanism")}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            self._post("", type="terminate")
        self._browser.close()

    def sign_in(self, name: str = "", password: str = "") -> None:
        """As an account, or as a guest when there is no name."""
        proof = b64encode(f"\0{name}\0{password}".encode()).decode() if name else ""
        mechanism = "PLAIN" if name else "ANONYMOUS"
        answer = self._until(SASL, self._post(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{proof}</auth>"))
        if not answer.tag.endswith("}success"):
            raise Refused(_condition(answer))
        self._post("", to=self.domain, **{"xmpp:restart": "true"}, **XMPP)
        self.ask("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", kind="set")

    def ask(self, query: str, *, to: str = "", kind: str = "get") -> Stanza:
        """The answer to a request."""
        address = f" to={quoteattr(to)}" if to else ""
        stanza = f"<iq xmlns='{CLIENT}' type='{kind}' id='lab'{address}>{query}</iq>"
        answer = self._until(f"{{{CLIENT}}}iq", self._post(stanza))
        if answer.get("type") == "error":
            raise Refused(_condition(answer))
        return answer

    def enter(self, room: str) -> None:
        """Join the room, which opens it if it is not open yet and one may."""
        place = quoteattr(f"{room}@muc.meet.jitsi/{self._session}")
        stanza = f"<presence xmlns='{CLIENT}' to={place}><x xmlns='{MUC}'/></presence>"
        answer = self._until(f"{{{CLIENT}}}presence", self._post(stanza))
        if answer.get("type") == "error":
            raise Refused(_condition(answer))

    def relays(self) -> list[dict[str, str]]:
        """Where calls are relayed, with credentials for it."""
        answer = self.ask(f"<services xmlns='{SERVICES}'/>", to=self.domain)
        return [dict(service.attrib) for service in answer.iter(f"{{{SERVICES}}}service")]

    def _until(self, tag: str, body: Stanza) -> Stanza:
        for _ in range(ATTEMPTS):
            for stanza in body:
                if stanza.tag == tag or stanza.tag.startswith(f"{{{tag}}}"):
                    return stanza
            body = self._post("")
        raise AssertionError(f"no {tag}; last: {ElementTree.tostring(body).decode()}")

    def _post(self, content: str, **attributes: str) -> Stanza:
        self._number += 1
        known = {"sid": self._session} if self._session else {}
        words = {"rid": str(self._number), **known, **attributes}
        opening = " ".join(f"{name}={quoteattr(value)}" for name, value in words.items())
        text = f"<body xmlns='{BIND}' xmlns:xmpp='urn:xmpp:xbosh' {opening}>{content}</body>"
        answer = self._browser.post(self.site.url("meet", "/http-bind"), content=text)
        assert answer.status_code == 200, answer.text
        return ElementTree.fromstring(answer.text)  # noqa: S314 (from our own server)


XMPP = {"xmpp:version": "1.0"}


def _condition(stanza: Stanza) -> str:
    """The first element that names what is wrong: of a stanza within its `error`, of a sign-in at once."""
    error = next((part for part in stanza if part.tag.endswith("}error")), stanza)
    return next(iter(error)).tag.rsplit("}", 1)[1]
