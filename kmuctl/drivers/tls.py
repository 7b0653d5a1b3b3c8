"""TLS handshakes with the services of the stack, at their containers' own addresses: which certificate is served."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from smtplib import SMTP, SMTPException
from time import sleep

from kmuctl.model.errors import HostError
from kmuctl.model.host import Door
from kmuctl.model.stack import PROJECT

PAUSES = (0.5, 1.5)
"""Seconds before each further attempt: Stalwart takes five mail connections a second from one address."""
TIMEOUT = 10
OWN_NAME = "kmuctl.internal"
"""What mail servers are greeted with; looking up this machine's own could take long."""


class TlsClient:
    """`address(project, container)` gives a container's address, None when it is not running."""

    def __init__(self, address: Callable[[str, str], str | None]) -> None:
        self._address = address

    def serial(self, door: Door) -> int:
        from cryptography import x509

        return x509.load_der_x509_certificate(self._insist(door)).serial_number

    def _insist(self, door: Door) -> bytes:
        for pause in (*PAUSES, None):
            try:
                return self._served(door)
            except (OSError, SMTPException, ValueError) as error:
                if pause is None:
                    raise _no_answer(door, str(error) or type(error).__name__) from None
            sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _served(self, door: Door) -> bytes:
        address = self._address(PROJECT, door.container)
        if address is None:
            raise _no_answer(door, "it is not running")
        if door.starttls == "smtp":
            return _after_greeting((address, door.port), door.name)
        with socket.create_connection((address, door.port), TIMEOUT) as plain:
            return _certificate(plain, door.name)


def _after_greeting(address: tuple[str, int], name: str) -> bytes:
    with SMTP(*address, local_hostname=OWN_NAME, timeout=TIMEOUT) as mail:
        mail.ehlo_or_helo_if_needed()
        code, said = mail.docmd("STARTTLS")
        if code != 220 or mail.sock is None:
            raise ValueError(f"STARTTLS is refused: {said.decode(errors='replace')}")
        found = _certificate(mail.sock, name)
        mail.close()
    return found


def _certificate(plain: socket.socket, name: str) -> bytes:
    """Whose it is, is looked at, not whether it is to be trusted: the company's own authority is nobody's."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(plain, server_hostname=name) as secure:
        found = secure.getpeercert(binary_form=True)
    if found is None:
        raise ValueError("it shows no certificate")
    return found


def _no_answer(door: Door, reason: str) -> HostError:
    return HostError(
        f"`{door.container}` speaks no TLS on port {door.port}: {reason}", hint=f"`kmuctl logs {door.container}`"
    )
