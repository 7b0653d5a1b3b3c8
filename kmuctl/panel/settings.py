"""What the panel knows about its site: the rendered `panel.json`, checked at the door."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SITE, SESSION_SECRET = "KMU_SITE", "KMU_SESSION_SECRET_FILE"  # names of environment variables
TEXT, FLAG = "text", "true or false"
COLOR, ADDRESS = "a color like `#2a6f97`", "an http or https address"
SHAPES = {
    TEXT: re.compile(r".+"),
    COLOR: re.compile(r"#[0-9a-fA-F]{6}"),
    ADDRESS: re.compile(r"https?://[^\s/]+\S*"),
}
KEYS = {
    "name": TEXT,
    "domain": TEXT,
    "language": TEXT,
    "color": COLOR,
    "authentik": ADDRESS,
    "people": ADDRESS,
}
APP_KEYS = {"name": TEXT, "title": TEXT, "text": TEXT, "url": ADDRESS, "admins": FLAG}


class SettingsError(Exception):
    """The panel cannot start with these settings; the message names every problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    name: str
    title: str
    text: str
    url: str
    admins: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    name: str
    domain: str
    language: str
    color: str
    authentik: str
    """Where the panel itself reaches Authentik."""
    people: str
    """Where a person reaches the pages on which people are managed."""
    apps: tuple[App, ...]
    session_secret: Path


def load(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError with all problems at once."""
    if lacking := [name for name in (SITE, SESSION_SECRET) if not environment.get(name)]:
        raise SettingsError(f"not set in the environment: {', '.join(lacking)}")
    path = environment[SITE]
    if found := list(_problems(site := _read(path))):
        raise SettingsError("\n  ".join([f"`{path}` is not a valid settings file:", *found]))
    apps = tuple(App(**app) for app in site.pop("apps"))
    return Settings(**site, apps=apps, session_secret=Path(environment[SESSION_SECRET]))


def _read(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read `{path}`: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"`{path}` is not JSON: {error}") from None


def _problems(site: Any) -> Iterator[str]:
    if not isinstance(site, dict):
        yield "must be an object"
        return
    apps = site.get("apps")
    yield from _differences({key: site[key] for key in site if key != "apps"}, KEYS, "")
    if not isinstance(apps, list):
        yield "apps: must be a list"
        return
    for number, app in enumerate(apps):
        yield from _differences(app, APP_KEYS, f"apps.{number}.")


def _differences(found: Any, wanted: Mapping[str, str], prefix: str) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{prefix.rstrip('.')}: must be an object"
        return
    yield from (f"{prefix}{key}: unknown" for key in sorted(found.keys() - wanted.keys()))
    for key, shape in wanted.items():
        if not _fits(found.get(key), shape):
            yield f"{prefix}{key}: must be {shape}" + ("" if key in found else ", but is missing")


def _fits(value: object, shape: str) -> bool:
    if shape == FLAG:
        return isinstance(value, bool)
    return isinstance(value, str) and SHAPES[shape].fullmatch(value) is not None
