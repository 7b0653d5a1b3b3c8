"""The two small files that CONTRIBUTING.md adds an app with are enough, and good enough for every rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kmuctl.assets import sources
from kmuctl.model.stack import build
from kmuctl.operations.render import render
from kmuctl.services import CATALOG
from tests.rendered import lint
from tests.rendered.sites import Project, Recognisable
from tests.support import site

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_an_app_behind_the_login_is_two_small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Route, sign-on, start page and limits follow; no rule needs to know of it."""
    module: dict[str, Any] = {}
    exec(block("python"), module)  # noqa: S102 (our own guide)
    with_app = sources() | {"compose/drawio.yml.j2": block("yaml")}
    monkeypatch.setattr(lint, "sources", lambda: with_app)
    stack = build(site(), (*CATALOG, module["SERVICE"]))
    project = Project(stack, render(stack, Recognisable(), with_app).files)
    rules = set(lint.RULES) - {lint.the_host_is_big_enough}  # that is about our own core
    assert [fault for rule in rules for fault in rule(project)] == []
    for path in ("caddy/Caddyfile", "blueprints/20-logins.yaml", "homepage/site/index.html"):
        assert "draw.acme.example" in project.text(path), path
