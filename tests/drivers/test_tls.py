"""Which certificate is served, asked of the Stalwart double's own listeners on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kmuctl.drivers import tls
from kmuctl.drivers.reach import Place
from kmuctl.drivers.tls import TlsClient
from kmuctl.model.errors import HostError
from kmuctl.model.host import Door, StartTls
from kmuctl.operations.certificates import Pair, serial
from tests.fakes.certificates import issued

sys.path.append(str(Path(__file__).parents[1] / "lab/images/stalwart"))

from stalwart_double.keyring import Keyring  # type: ignore[import-not-found]
from stalwart_double.mail import Listener  # type: ignore[import-not-found]
from stalwart_double.server import Service  # type: ignore[import-not-found]
from stalwart_double.store import MemoryStore  # type: ignore[import-not-found]

CLIENT = TlsClient(lambda container, port, recent=False: Place("127.0.0.1", port))
MAIL, TURN = issued("mail.acme.example"), issued("turn.acme.example")


def tables(folder: Path, *pairs: Pair, default: str = "") -> dict[str, Any]:
    """Rows as Stalwart has them, by number; each names a file."""
    rows = {}
    for number, pair in enumerate(pairs):
        (folder / f"{number}.pem").write_bytes(pair.together)
        path = {"@type": "File", "filePath": str(folder / f"{number}.pem")}
        rows[str(number)] = {"certificate": path, "privateKey": path}
    return {"x:Certificate": rows, "x:SystemSettings": {"singleton": {"defaultCertificateId": default}}}


@contextmanager
def listening(keyring: Keyring, *, implicit: bool) -> Iterator[int]:
    service = Service(MemoryStore(), keyring=keyring)
    with Listener(service, "smtp", 0, keyring.listening(), implicit) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("implicit", "starttls"), [(True, ""), (False, "smtp")])
def test_the_certificate_of_the_name_that_is_asked_for(tmp_path: Path, implicit: bool, starttls: StartTls) -> None:
    keyring = Keyring()
    assert keyring.load(tables(tmp_path, MAIL, TURN, default="1")) == []
    with listening(keyring, implicit=implicit) as port:
        for name, pair in {"mail.acme.example": MAIL, "turn.acme.example": TURN, "other.example": TURN}.items():
            assert CLIENT.serial(Door("stalwart", port, name, starttls)) == serial(pair.certificate)


def test_a_renewed_file_shows_after_a_reload(tmp_path: Path) -> None:
    """Neither before it nor after a restart only."""
    keyring, renewed = Keyring(), issued("mail.acme.example", number=2)
    rows = tables(tmp_path, MAIL)
    keyring.load(rows)
    with listening(keyring, implicit=True) as port:
        door = Door("stalwart", port, "mail.acme.example")
        (tmp_path / "0.pem").write_bytes(renewed.together)
        assert CLIENT.serial(door) == serial(MAIL.certificate)
        keyring.load(rows)
        assert CLIENT.serial(door) == serial(renewed.certificate)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "PAUSES", (0.0,))
    with pytest.raises(HostError, match="`stalwart` speaks no TLS on port 9: "):
        CLIENT.serial(Door("stalwart", 9, "mail.acme.example"))
    with pytest.raises(HostError, match="it is not running"):
        TlsClient(lambda container, port, recent=False: None).serial(Door("stalwart", 9, "mail.acme.example"))


@pytest.mark.parametrize("starttls", ["", "smtp"])
def test_somebody_who_speaks_no_tls(monkeypatch: pytest.MonkeyPatch, starttls: StartTls) -> None:
    """A plain SMTP server, which refuses STARTTLS."""
    monkeypatch.setattr(tls, "PAUSES", ())
    with Listener(Service(MemoryStore()), "smtp", 0, None, implicit=False) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(HostError, match="speaks no TLS"):
            CLIENT.serial(Door("stalwart", server.server_address[1], "mail.acme.example", starttls))
        server.shutdown()
        thread.join()


def test_a_busy_server_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stalwart hangs up on whoever comes too often in a second."""
    monkeypatch.setattr(tls, "PAUSES", (0.0, 0.0))
    keyring = Keyring()
    keyring.load(tables(tmp_path, MAIL))
    refused: list[Any] = []

    def verify(self: Listener, request: Any, client: Any) -> bool:
        refused.append(client)
        return len(refused) > 2

    monkeypatch.setattr(Listener, "verify_request", verify)
    with listening(keyring, implicit=False) as port:
        assert CLIENT.serial(Door("stalwart", port, "mail.acme.example", "smtp")) == serial(MAIL.certificate)
    assert len(refused) == 3
