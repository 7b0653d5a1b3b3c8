"""What Stalwart tells of mail: believed only with the right signature (upstream/stalwart.md 5.10)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

SHOWN = ("accountName", "remoteIp", "from", "to", "reason", "details")
"""What of an event belongs in a log line; the rest may be long, or private."""


def genuine(body: bytes, signature: str, key: str) -> bool:
    """Whether who sent this body knows the key."""
    expected = base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()
    return hmac.compare_digest(expected.encode(), signature.encode())


def lines(body: bytes) -> list[str]:
    """One for each event of a batch. Raises ValueError when it is none."""
    try:
        return [_line(event["createdAt"], event["type"], event["data"]) for event in json.loads(body)["events"]]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a batch of events: {error!r}") from None


def _line(moment: str, kind: str, data: dict[str, Any]) -> str:
    shown = [f"{name}={json.dumps(data[name], ensure_ascii=False)}" for name in SHOWN if name in data]
    return " ".join(["mail", kind, f"at={moment}", *shown])
