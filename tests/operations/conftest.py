"""Waiting costs no time here."""

from __future__ import annotations

import pytest

from kmuctl.operations import plan


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "POLL_SECONDS", 0.001)
