"""The start page: every app once, readable by all, and nothing from elsewhere. Rows K13, K19, K91, D37, D55."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.rendered.sites import SITES, project, project_of

PAGE, STYLE = "homepage/site/index.html", "homepage/site/style.css"


class Reader(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute)) is not None]


@pytest.mark.parametrize("site", SITES)
def test_every_enabled_app_is_there_once(site: str) -> None:
    """K13, K19, D37 and the page's part of K91: the apps, one's own account, and what administrators need."""
    page, stack = Reader(project(site).text(PAGE)), project(site).stack
    account = [f"{stack.site.url('auth')}/if/user/", f"{stack.site.url('auth')}/if/admin/"]
    assert sorted(url for tag, found in page.tags if tag == "a" and (url := found["href"])) == sorted(
        [*(str(app["url"]) for app in stack.apps()), *account]
    )


@pytest.mark.parametrize(("site", "language"), [("core", "de"), ("English", "en"), ("small", "de")])
def test_the_page_says_its_language_and_fits_a_phone(site: str, language: str) -> None:
    page = Reader(project(site).text(PAGE))
    assert ("html", {"lang": language}) in page.tags
    assert "width=device-width, initial-scale=1" in page.values("content")
    assert [tag for tag, _ in page.tags if tag in ("h1", "main", "footer")] == ["h1", "main", "footer"]


@pytest.mark.parametrize("site", SITES)
def test_the_page_needs_no_script_and_nobody_else(site: str) -> None:
    page = Reader(project(site).text(PAGE))
    assert not {"script", "style", "iframe"} & {tag for tag, _ in page.tags}
    assert not [name for _, found in page.tags for name in found if name.startswith("on") or name == "style"]
    assert "url(" not in project(site).text(STYLE)
    assert "@import" not in project(site).text(STYLE)


def test_the_companys_name_logo_and_colour() -> None:
    """D55, the start page's part."""
    branded = project_of(branding={"color": "#aa3366", "logo": "https://acme.example/logo.svg"})
    assert "--brand: #aa3366;" in branded.text(STYLE)
    assert ("img", {"src": "https://acme.example/logo.svg", "alt": ""}) in Reader(branded.text(PAGE)).tags
    assert "<h1>ACME GmbH</h1>" in branded.text(PAGE)


def test_the_keyboard_shows_where_it_is() -> None:
    """In the text's own colour: a company's colour may be as pale as the page."""
    assert re.search(r"a:focus-visible \{ outline: [^;]*currentColor", project().text(STYLE))
