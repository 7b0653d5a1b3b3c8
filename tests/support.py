"""Small helpers that most tests share: a full core site, and what it renders to."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from kmuctl.model.secrets import Placeholders
from kmuctl.model.site import Site, check_site
from kmuctl.model.stack import Stack
from kmuctl.operations.render import File, render
from kmuctl.services import NAMES, stack_of

AWKWARD_NAME = """Müller & "Söhne" $HOME ${x} #1 | {{ 7*7 }} 'q' \\ 🚀"""

CORE = """
domain = "acme.example"
name = "ACME GmbH"
[admin]
username = "mmustermann"
name = "Max Mustermann"
email = "max@acme.example"
[host]
ipv4 = "203.0.113.7"
"""


def site(**changes: Any) -> Site:
    """The core site with some top-level keys replaced."""
    return check_site(tomllib.loads(CORE) | changes, NAMES, path="kmu.toml")


def stack(**changes: Any) -> Stack:
    return stack_of(site(**changes))


@cache
def core_files() -> dict[str, File]:
    return render(stack(), Placeholders()).files


def rendered(**changes: Any) -> dict[str, str]:
    """Text of every rendered file by path; secrets are placeholders."""
    files = render(stack(**changes), Placeholders()).files if changes else core_files()
    return {path: file.content.decode() for path, file in files.items()}
