"""Stalwart's events: the signature decides who is believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Iterator

import httpx
import pytest

from kmuctl.panel import sync

KEY = "webhook-key"
EVENT = {
    "id": "1", "createdAt": "2026-11-21T10:00:00Z", "type": "auth.failed",
    "data": {"accountName": "anna@acme.example", "remoteIp": "203.0.113.7", "spanId": 4},
}  # fmt: skip
BATCH = json.dumps({"events": [EVENT]}).encode()


def signature(body: bytes, key: str = KEY) -> str:
    """As Stalwart makes it: base64 of HMAC-SHA256 over the raw body."""
    return base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()


@pytest.fixture(params=[KEY])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    server = sync.Server(("127.0.0.1", 0), sync.Watch(), request.param)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def post(address: str, body: bytes, headers: dict[str, str]) -> int:
    return httpx.post(f"{address}/webhooks/stalwart", content=body, headers=headers, trust_env=False).status_code


def test_a_signed_batch_is_taken_and_told(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """D21: who, from where, and nothing else of the event."""
    caplog.set_level(logging.INFO)
    assert post(address, BATCH, {"X-Signature": signature(BATCH)}) == 200
    [line] = [record.message for record in caplog.records if record.message.startswith("mail ")]
    assert line == (
        'mail auth.failed at=2026-11-21T10:00:00Z accountName="anna@acme.example" remoteIp="203.0.113.7"'
    )  # fmt: skip


@pytest.mark.parametrize("header", [{}, {"X-Signature": ""}, {"X-Signature": signature(BATCH, "another")}])
def test_others_are_not_believed(address: str, header: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    assert post(address, BATCH, header) == 401
    assert post(address, BATCH + b" ", {"X-Signature": signature(BATCH)}) == 401
    assert not [record for record in caplog.records if "auth.failed" in record.message]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"events": [1]}', b"\xff", b'{"events": [{"type": "x"}]}'])
def test_what_is_no_batch_is_refused(address: str, body: bytes) -> None:
    assert post(address, body, {"X-Signature": signature(body)}) == 400


@pytest.mark.parametrize("address", [""], indirect=True)
def test_where_there_is_no_mail_there_are_no_events(address: str) -> None:
    """An empty key must not make every signature right."""
    assert post(address, BATCH, {"X-Signature": signature(BATCH, "")}) == 404


def test_a_line_feed_in_an_event_makes_no_second_line(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    forged = {**EVENT, "data": {"accountName": "x\nmail auth.success"}}
    body = json.dumps({"events": [forged]}).encode()
    assert post(address, body, {"X-Signature": signature(body)}) == 200
    assert all("\n" not in record.message for record in caplog.records)
