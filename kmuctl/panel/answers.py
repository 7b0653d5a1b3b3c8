"""Every answer of the panel: the pages, the style sheet, JSON and errors, all with the same careful headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kmuctl.panel.settings import Settings
from kmuctl.panel.texts import texts

PAGES = Path(__file__).parent / "pages"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Answers:
    settings: Settings
    pages: Environment

    def page(self, name: str, status: int = HTTPStatus.OK, **values: object) -> Response:
        return HTMLResponse(self._fill(f"{name}.html", **values), status, HEADERS)

    def style(self) -> Response:
        return Response(self._fill("style.css"), headers=HEADERS, media_type="text/css")

    def json(self, content: Mapping[str, object], status: int = HTTPStatus.OK) -> Response:
        return JSONResponse(content, status, HEADERS)

    def error(self, request: Request, status: HTTPStatus) -> Response:
        """The same body whatever went wrong: a page for a browser, JSON for a program."""
        if "text/html" in request.headers.get("accept", ""):
            return self.page("error", status, message=str(status.value))
        return self.json({"error": {"status": status.value, "message": status.phrase}}, status)

    def _fill(self, name: str, **values: object) -> str:
        language = texts(self.settings.language)
        return self.pages.get_template(name).render(site=self.settings, text=language, **values)


def answers(settings: Settings) -> Answers:
    loader = FileSystemLoader(PAGES)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return Answers(settings, pages)
