"""The model schema: properties, required fields and permission names of 2026.8."""

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def schema() -> dict[str, Any]:
    return dict(json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8")))
