"""Waiting costs no time here."""

from __future__ import annotations

import pytest

from kmuctl.operations.harden import undo


@pytest.fixture(autouse=True)
def _quick_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "PROOF_SECONDS", 0.0)
