"""The files that `harden` brings: `templates/harden/PART/...`, filled in."""

from __future__ import annotations

import re
import shlex
from typing import Any

from jinja2 import Environment, StrictUndefined

from kmuctl import assets

FOLDER = "templates/harden"


def fill(path: str, **known: Any) -> str:
    """One template by its path below the folder, without `.j2`."""
    environment = Environment(  # noqa: S701 (no HTML)
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pattern": re.escape, "quote": shlex.quote}
    return environment.from_string(assets.sources()[f"{FOLDER}/{path}.j2"]).render(known)


def below(folder: str) -> list[str]:
    """The templates of one folder, as `fill` takes them."""
    paths = (path.removeprefix(f"{FOLDER}/").removesuffix(".j2") for path in assets.sources())
    return [path for path in paths if path.startswith(f"{folder}/")]
