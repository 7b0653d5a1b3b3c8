"""A browser in front of a real Authentik, as far as signing in needs one: pages by redirects, stages over the flow API.

It comes through a proxy as Caddy is one: the public name, https, and an address of its own for each visitor.
"""

from __future__ import annotations

import base64
import hmac
import struct
import time
from http.cookies import SimpleCookie
from itertools import count
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx

from tests.real.host import URL

PUBLIC = "auth.kmu.test"
SIGN_ON, RECOVERY, DIRECTORY = "default-authentication-flow", "kmu-recovery", "kmu-directory"
_addresses = count(1)
Stage = dict[str, Any]


class Browser:
    def __init__(self, address: str = "") -> None:
        number = int(time.time()) % 200 * 250 + next(_addresses)
        self.address = address or f"198.18.{number // 250}.{number % 250}"
        self.cookies: dict[str, str] = {}

    def visit(self, url: str, **options: Any) -> httpx.Response:
        """One request; whatever host the address names, Authentik answers."""
        parts = urlsplit(url)
        headers = {
            "Host": parts.netloc or PUBLIC,
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": self.address,
            "Accept": "application/json" if "/api/" in parts.path else "text/html",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-authentik-CSRF": self.cookies.get("authentik_csrf", ""),
        }
        target = URL + parts.path + (f"?{parts.query}" if parts.query else "")
        answer = httpx.request(options.pop("method", "GET"), target, headers=headers, timeout=120, **options)
        for line in answer.headers.get_list("set-cookie"):
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        return answer

    def follow(self, url: str) -> tuple[str, httpx.Response | None]:
        """Where the redirects end: at a page of Authentik, or outside of it."""
        for _ in range(10):
            if urlsplit(url).netloc not in ("", PUBLIC):
                return url, None
            answer = self.visit(url)
            if not answer.is_redirect:
                return url, answer
            url = answer.headers["location"]
        raise AssertionError(f"endless redirects: {url}")

    def stage(self, flow: str, query: str = "", **answer: Any) -> Stage:
        """The stage that the flow is at, after an answer if one is given."""
        url = f"/api/v3/flows/executor/{flow}/?query={quote(query)}"
        reply = self.visit(url, method="POST", json=answer) if answer else self.visit(url)
        while reply.is_redirect:
            reply = self.visit(reply.headers["location"])
        assert reply.status_code in (200, 400, 403), reply.text
        seen: Stage = reply.json()
        return seen

    def sign_in(self, name: str, password: str, *, query: str = "") -> Stage:
        """The stage after name and password."""
        seen = self.stage(SIGN_ON, query)
        if seen["component"] == "ak-stage-identification":
            seen = self.stage(SIGN_ON, query, uid_field=name)
        if seen["component"] == "ak-stage-password":
            seen = self.stage(SIGN_ON, query, password=password)
        return seen

    def follow_mail(self, link: str, flow: str) -> Stage:
        """The stage behind a link in a mail: programs that look into mails must not use it up, so it asks first."""
        query = urlsplit(link).query
        seen = self.stage(flow, query)
        assert seen["component"] == "ak-stage-consent"
        return self.stage(flow, query, token=seen["token"])

    def open(self, url: str, name: str, password: str) -> tuple[str, httpx.Response | None]:
        """An address behind the sign-on; the last page, or the address outside at which the way ends."""
        for _ in range(6):
            url, page = self.follow(url)
            flow = urlsplit(url).path.split("/")
            if page is None or flow[1:3] != ["if", "flow"]:
                return url, page
            query = urlsplit(url).query
            seen = self.sign_in(name, password, query=query) if flow[3] == SIGN_ON else self.stage(flow[3], query)
            if seen["component"] != "xak-flow-redirect":
                return url, httpx.Response(200, json=seen)
            url = seen["to"]
        raise AssertionError(f"the sign-on does not end: {url}")


def code_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["code"][0]


def one_time_code(configuration: str, at: float | None = None) -> str:
    """RFC 6238, from the address in an authenticator's QR code."""
    secret = base64.b32decode(parse_qs(urlsplit(configuration).query)["secret"][0])
    digest = hmac.digest(secret, struct.pack(">Q", int(at or time.time()) // 30), "sha1")
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"
