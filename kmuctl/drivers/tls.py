"""TLS handshakes with the services of the stack, at their containers' own addresses: which certificate is served."""

from __future__ import annotations

import socket
import ssl
from smtplib import SMTP, SMTPException
from time import sleep

from kmuctl.drivers.reach import Place, Reach
from kmuctl.model.errors import HostError
from kmuctl.model.host import Door

PAUSES = (0.5, 1.5)
"""Seconds before each further attempt: Stalwart takes five mail connections a second from one address."""
TIMEOUT = 10
OWN_NAME = "kmuctl.internal"
"""What mail servers are greeted with; looking up this machine's own could take long."""


class TlsClient:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def serial(self, door: Door) -> int:
        from cryptography import x509

        return x509.load_der_x509_certificate(self._insist(door)).serial_number

    def _insist(self, door: Door) -> bytes:
        recent = True
        for pause in (*PAUSES, None):
            try:
                return self._served(door, recent=recent)
            except (OSError, SMTPException, ValueError) as error:
                if pause is None:
                    raise _no_answer(door, str(error) or type(error).__name__) from None
            recent = False
            sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _served(self, door: Door, *, recent: bool) -> bytes:
        place = self._reach(door.container, door.port, recent=recent)
        if place is None:
            raise _no_answer(door, "it is not running")
        if door.starttls == "smtp":
            return _after_greeting(place, door.name)
        with place.connect(TIMEOUT) as plain:
            return _certificate(plain, door.name)


class _Mail(SMTP):
    """SMTP by any way that leads there."""

    def __init__(self, place: Place) -> None:
        self._place = place
        super().__init__(place.address, place.port, local_hostname=OWN_NAME, timeout=TIMEOUT)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._place.connect(timeout)


def _after_greeting(place: Place, name: str) -> bytes:
    with _Mail(place) as mail:
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
