"""Expected output, read by people in a diff. `KMU_UPDATE_GOLDEN=1 pytest` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path


def golden(name: str, text: str) -> None:
    path = Path(__file__).parent / name
    if os.environ.get("KMU_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no `{name}` yet: run with KMU_UPDATE_GOLDEN=1 and read it"
    assert text == path.read_text(encoding="utf-8")
