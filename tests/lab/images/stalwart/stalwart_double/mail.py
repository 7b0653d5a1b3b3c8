"""SMTP, IMAP, POP3 and ManageSieve: greeting, TLS, login and recipients; anything else is refused by name."""

import base64
import os
import re
import socket
import socketserver
import ssl
import time
from collections.abc import Callable
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars

from .schema import resolve_secret
from .server import Service, Unreachable, account_by_address, app_password_owner, is_recovery_admin, local_password_fits
from .store import Row
from .webhooks import tell

GREETINGS = {
    "smtp": "220 {host} Stalwart ESMTP at your service (double)",
    "imap": "* OK [CAPABILITY {capabilities}] Stalwart IMAP4rev2 at your service (double).",
    "pop3": "+OK Stalwart POP3 at your service (double).",
    "manageSieve": '"IMPLEMENTATION" "Stalwart double"\r\n"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK "Stalwart ManageSieve"',
}


def directory(service: Service) -> Row | None:
    key = service.live.get("x:Authentication", {}).get("singleton", {}).get("directoryId")
    return service.live.get("x:Directory", {}).get(key) if key else None


def ldap_search(row: Row, template: str, value: str) -> list[str]:
    escaped = escape_filter_chars(value)
    pattern = template.replace("?", escaped).replace("{email}", escaped)
    try:
        secret = resolve_secret(row.get("bindSecret"), os.environ)
        with ldap3.Connection(row["url"], row.get("bindDn"), secret, auto_bind=True, receive_timeout=10) as link:
            link.search(row["baseDn"], pattern, attributes=["cn"])
            return [entry["dn"] for entry in link.response or [] if entry["type"] == "searchResEntry"]
    except (LDAPException, OSError, KeyError) as error:
        raise Unreachable(str(error)) from error


def ldap_login(row: Row, login: str, password: str) -> bool:
    found = ldap_search(row, row["filterLogin"], login)
    if not found or not password:
        return False
    try:
        link = ldap3.Connection(row["url"], found[0], password, receive_timeout=10)
        try:
            return bool(link.bind())
        finally:
            link.unbind()
    except (LDAPException, OSError) as error:
        raise Unreachable(str(error)) from error


def log_in(service: Service, login: str, password: str) -> bool:
    """App passwords come before any directory; with a directory no local password counts."""
    with service.store.transaction() as tables:
        if is_recovery_admin(service, login, password) or app_password_owner(tables, login, password):
            return True
        account = account_by_address(tables, login)
    row = directory(service)
    if row is not None:
        return ldap_login(row, login, password)
    return account is not None and local_password_fits(account[1], password)


def recipient_answer(service: Service, address: str, authenticated: bool) -> str:
    name, _, domain = address.partition("@")
    with service.store.transaction() as tables:
        local = next((row for row in tables.get("x:Domain", {}).values() if row["name"] == domain), None)
        lists = [row for row in tables.get("x:MailingList", {}).values() if row["name"] == name]
        aliases = [alias for row in tables.get("x:MailingList", {}).values() for alias in row["aliases"].values()]
        account = account_by_address(tables, address)
    if local is None:
        return "250 2.1.5 OK" if authenticated else "550 5.1.2 Relay not allowed."
    row = directory(service)
    try:
        plain = re.sub(r"\+[^@]*@", "@", address)
        found = bool(ldap_search(row, row["filterMailbox"], plain)) if row else account is not None
    except Unreachable:  # as seen: lists, too, wait for the directory
        return "451 4.4.3 Unable to verify address at this time."
    known = found or lists or any(alias["name"] == name for alias in aliases) or local.get("catchAllAddress")
    return "250 2.1.5 OK" if known else "550 5.1.2 Mailbox does not exist."


class Talk(socketserver.StreamRequestHandler):
    """One connection; `server` carries the service, the protocol and the TLS context."""

    server: Any
    secure = False
    account = ""

    def setup(self) -> None:
        if self.server.implicit:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            self.secure = True
        self.request.settimeout(300)
        super().setup()

    def finish(self) -> None:
        """The server itself knows only the socket before TLS."""
        try:
            super().finish()
        finally:
            self.request.close()

    def handle(self) -> None:
        host = (
            self.server.service.live.get("x:SystemSettings", {})
            .get("singleton", {})
            .get("defaultHostname", "localhost")
        )
        self.host, self.sender, self.recipients = host, "", list[str]()
        self.say(GREETINGS[self.server.protocol].format(host=host, capabilities=self.capabilities()))
        talk: Callable[[str], bool] = getattr(self, "line_" + self.server.protocol.lower())
        while True:
            line = self.rfile.readline(65536).decode(errors="replace").rstrip("\r\n")
            if not line or not talk(line):
                return

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def capabilities(self) -> str:
        offers_tls = self.server.tls is not None and not self.secure
        return "IMAP4rev2 IMAP4rev1 " + ("STARTTLS LOGINDISABLED" if offers_tls else "AUTH=PLAIN")

    def start_tls(self) -> None:
        self.wfile.flush()
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.secure = True
        super().setup()

    def try_login(self, login: str, password: str) -> str:
        about = {"accountName": login, "remoteIp": self.client_address[0].removeprefix("::ffff:")}
        try:
            if log_in(self.server.service, login, password):
                self.account = login
                tell(self.server.service, "auth.success", **about)
                return "yes"
        except Unreachable:
            tell(self.server.service, "store.ldap-error", **about)
            return "later"
        tell(self.server.service, "auth.failed", **about)
        return "no"

    def line_smtp(self, line: str) -> bool:
        verb, _, rest = line.partition(" ")
        method = getattr(self, "smtp_" + verb.lower(), None)
        if method is None:
            self.say(f"500 5.5.1 DOUBLE does not know {verb}")
            return True
        return bool(method(rest))

    def smtp_ehlo(self, rest: str) -> bool:
        offers = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 104857600"]
        if self.server.tls is not None and not self.secure:
            offers.append("STARTTLS")
        if self.may_authenticate():
            offers.append("AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2")
        words = [f"{self.host} you had me at EHLO", *offers]
        self.say("\r\n".join(f"250{'-' if word is not words[-1] else ' '}{word}" for word in words))
        return True

    def smtp_helo(self, rest: str) -> bool:
        self.say(f"250 {self.host}")
        return True

    def may_authenticate(self) -> bool:
        return self.secure and self.server.server_address[1] != 25

    def smtp_starttls(self, rest: str) -> bool:
        if self.server.tls is None or self.secure:
            self.say("504 5.7.4 Already in TLS mode.")
            return True
        self.say("220 2.0.0 Ready to start TLS.")
        self.start_tls()
        return True

    def smtp_auth(self, rest: str) -> bool:
        kind, _, initial = rest.partition(" ")
        if not self.may_authenticate():
            self.say("503 5.5.1 AUTH not allowed.")
            return True
        if kind.upper() not in ("PLAIN", "LOGIN"):
            self.say("504 5.5.4 DOUBLE knows AUTH PLAIN and LOGIN only")
            return True
        try:
            login, password = self.credentials(kind.upper(), initial)
        except ValueError:
            self.say("501 5.5.2 Invalid AUTH data")
            return True
        answers = {"yes": "235 2.7.0 Authentication succeeded.", "no": "535 5.7.8 Authentication credentials invalid."}
        self.say(answers.get(self.try_login(login, password), "454 4.7.0 Temporary authentication failure"))
        return True

    def credentials(self, kind: str, initial: str) -> tuple[str, str]:
        if kind == "LOGIN":
            return (initial and _decoded(initial)) or self.ask("VXNlcm5hbWU6"), self.ask("UGFzc3dvcmQ6")
        _, login, password = (_decoded(initial) if initial else self.ask("")).split("\0")
        return login, password

    def ask(self, prompt: str) -> str:
        self.say(f"334 {prompt}")
        return _decoded(self.rfile.readline(65536).decode().strip())

    def smtp_mail(self, rest: str) -> bool:
        match = re.match(r"FROM:\s*<([^>]*)>", rest, re.IGNORECASE)
        if match is None:
            self.say("501 5.5.2 Syntax")
        elif self.server.server_address[1] != 25 and not self.account:
            self.say("503 5.5.1 You must authenticate first.")
        elif self.account and match[1] != self.account and not is_recovery_login(self.server.service, self.account):
            self.say("501 5.5.4 You are not allowed to send from this address.")
        else:
            self.sender, self.recipients = match[1] or "<>", []
            self.say("250 2.1.0 OK")
        return True

    def smtp_rcpt(self, rest: str) -> bool:
        match = re.match(r"TO:\s*<([^>]+)>", rest, re.IGNORECASE)
        if match is None or not self.sender:
            self.say("503 5.5.1 MAIL is required first.")
            return True
        answer = recipient_answer(self.server.service, match[1].lower(), bool(self.account))
        if answer.startswith("250"):
            self.recipients.append(match[1].lower())
        self.say(answer)
        return True

    def smtp_data(self, rest: str) -> bool:
        if not self.recipients:
            self.say("503 5.5.1 RCPT is required first.")
            return True
        self.say("354 Start mail input; end with <CRLF>.<CRLF>")
        lines: list[str] = []
        while (line := self.rfile.readline(1_000_000).decode(errors="replace")) not in (".\r\n", ".\n", ""):
            lines.append(line.removeprefix(".") if line.startswith("..") else line)
        with self.server.service.store.transaction() as tables:
            message = {"from": self.sender, "to": self.recipients, "text": "".join(lines), "account": self.account}
            tables.setdefault("double:message", {})[str(time.time_ns())] = message
        kind = "queue.authenticated-message-queued" if self.account else "queue.message-queued"
        tell(self.server.service, kind, **{"from": self.sender, "to": self.recipients})
        self.say("250 2.0.0 Message queued (stored by the double, never sent on).")
        return True

    def smtp_rset(self, rest: str) -> bool:
        self.sender, self.recipients = "", []
        self.say("250 2.0.0 OK")
        return True

    def smtp_noop(self, rest: str) -> bool:
        self.say("250 2.0.0 OK")
        return True

    def smtp_quit(self, rest: str) -> bool:
        self.say("221 2.0.0 Bye.")
        return False

    def line_imap(self, line: str) -> bool:
        tag, _, rest = line.partition(" ")
        verb, _, arguments = rest.partition(" ")
        verb = verb.upper()
        if verb == "CAPABILITY":
            self.say(f"* CAPABILITY {self.capabilities()}")
        if verb == "LOGOUT":
            self.say(f"* BYE Stalwart double\r\n{tag} OK LOGOUT completed")
            return False
        if verb == "LOGIN":
            self.say(f"{tag} {self.imap_login(arguments)}")
        elif verb in ("CAPABILITY", "NOOP"):
            self.say(f"{tag} OK {verb} completed")
        elif verb == "STARTTLS" and self.server.tls is not None and not self.secure:
            self.say(f"{tag} OK Begin TLS negotiation now")
            self.start_tls()
        else:
            self.say(f"{tag} BAD DOUBLE does not know {verb}")
        return True

    def imap_login(self, arguments: str) -> str:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', arguments)]
        if len(words) != 2 or not self.secure:
            return "BAD LOGIN needs TLS, a user name and a password"
        answers = {"yes": "OK Authenticated", "no": "NO [AUTHENTICATIONFAILED] Authentication failed"}
        return answers.get(self.try_login(*words), "NO [CONTACTADMIN] LDAP error")

    def line_pop3(self, line: str) -> bool:
        self.say("+OK Bye" if line.upper() == "QUIT" else "-ERR DOUBLE knows QUIT only")
        return line.upper() != "QUIT"

    def line_managesieve(self, line: str) -> bool:
        self.say('OK "Bye"' if line.upper() == "LOGOUT" else 'NO "DOUBLE knows LOGOUT only"')
        return line.upper() != "LOGOUT"


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode()


def is_recovery_login(service: Service, login: str) -> bool:
    return login == service.recovery_admin.partition(":")[0]


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def __init__(self, service: Service, protocol: str, port: int, tls: ssl.SSLContext | None, implicit: bool) -> None:
        self.service, self.protocol, self.tls, self.implicit = service, protocol, tls, implicit
        super().__init__(("", port), Talk)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are everyday life."""
