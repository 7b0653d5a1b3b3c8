"""The panel's pages and its health check, without a network but for a stand-in for Authentik."""

from __future__ import annotations

import asyncio
import html
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from kmuctl.panel import app as panel
from kmuctl.panel.settings import load
from tests.panel.support import authentik, environment
from tests.support import AWKWARD_NAME

MAX = {"X-Authentik-Username": "max", "X-Authentik-Name": "Max Mustermann", "Accept": "text/html"}
BROWSER = {"Accept": "text/html"}
NASTY = """<script>alert("x")</script> {{ 7*7 }} {% raw %} 'q' & 🚀"""


def application(folder: Path, **changes: Any) -> FastAPI:
    return panel.create(load(environment(folder, **changes)))


def ask(app: FastAPI, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://panel") as client,
        ):
            return await client.request(method, path, headers=headers)

    return asyncio.run(answer())


def test_greets_the_person_and_lists_the_apps(tmp_path: Path) -> None:
    answer = ask(application(tmp_path), "/", MAX)
    assert answer.status_code == 200
    assert "Guten Tag, Max Mustermann" in answer.text
    assert 'href="https://element.acme.example/"' in answer.text
    assert 'href="https://auth.acme.example/if/admin/#/identity/users"' in answer.text
    assert answer.text.count("nur für die Verwaltung") == 1


@pytest.mark.parametrize(("language", "words"), [("de", "Guten Tag"), ("en", "Hello"), ("fr", "Hello")])
def test_speaks_german_or_else_english(tmp_path: Path, language: str, words: str) -> None:
    assert words in ask(application(tmp_path, language=language), "/", MAX).text


@pytest.mark.parametrize("name", [AWKWARD_NAME, NASTY])
def test_awkward_texts_arrive_as_text(tmp_path: Path, name: str) -> None:
    app = {"name": "x", "title": name, "text": name, "url": 'https://x.example/"><script>', "admins": True}
    text = ask(application(tmp_path, name=name, apps=[app]), "/", MAX).text
    assert name in html.unescape(text)
    assert "<script" not in text
    assert "49" not in text
    assert 'x.example/">' not in text


def test_awkward_people_arrive_as_text(tmp_path: Path) -> None:
    headers = [(b"X-Authentik-Username", b"max"), (b"X-Authentik-Name", f"Jörg {{site}} {NASTY}".encode())]
    text = ask(application(tmp_path), "/", headers=httpx.Headers(headers)).text  # type: ignore[arg-type]
    assert f"Jörg {{site}} {NASTY}" in html.unescape(text)
    assert "<script" not in text


def test_the_user_name_serves_where_the_name_is_empty(tmp_path: Path) -> None:
    assert "Guten Tag, max" in ask(application(tmp_path), "/", MAX | {"X-Authentik-Name": " "}).text


@pytest.mark.parametrize("path", ["/", "/style.css"])
def test_nothing_is_shown_to_strangers(tmp_path: Path, path: str) -> None:
    for headers in ({}, {"X-Authentik-Username": ""}, {"X-Authentik-Name": "Max"}):
        answer = ask(application(tmp_path), path, headers)
        assert answer.status_code == 401
        assert answer.json() == {"error": {"status": 401, "message": "Unauthorized"}}


@pytest.mark.parametrize(
    "path", ["/nothing", "/_sso/login", "/docs", "/redoc", "/openapi.json", "/healthz/", "/docs/oauth2-redirect"]
)
def test_unknown_paths_answer_alike(tmp_path: Path, path: str) -> None:
    answer = ask(application(tmp_path), path, MAX)
    assert answer.status_code == 404
    assert "Diese Seite gibt es nicht." in answer.text
    bare = ask(application(tmp_path), path)
    assert bare.json() == {"error": {"status": 404, "message": "Not Found"}}


def test_a_method_that_is_not_there(tmp_path: Path) -> None:
    assert ask(application(tmp_path), "/", MAX, "POST").status_code == 405
    assert ask(application(tmp_path), "/", MAX, "HEAD").text == ""


def test_an_unexpected_error_shows_nothing_of_itself(tmp_path: Path) -> None:
    app = application(tmp_path)

    @app.get("/broken")
    def broken() -> None:
        raise LookupError("inner matters")

    answer = ask(app, "/broken")
    assert answer.status_code == 500
    assert answer.json() == {"error": {"status": 500, "message": "Internal Server Error"}}
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "headers"), [("/", MAX), ("/", {}), ("/style.css", MAX), ("/x", BROWSER), ("/healthz", {})]
)
def test_every_answer_carries_the_security_headers(tmp_path: Path, path: str, headers: dict[str, str]) -> None:
    answer = ask(application(tmp_path), path, headers)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_pages_keep_to_their_own_policy(tmp_path: Path) -> None:
    text = ask(application(tmp_path), "/", MAX).text
    assert not any(inline in text for inline in ("<script", "<style", "style=", "onclick", "<img"))
    assert "--brand: #2a6f97;" in ask(application(tmp_path), "/style.css", MAX).text


def test_healthy_while_authentik_lives(tmp_path: Path) -> None:
    with authentik() as directory:
        answer = ask(application(tmp_path, authentik=directory.url), "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"healthy": True, "failing": {}})
    assert directory.asked == ["/-/health/live/"]


def failing(app: FastAPI) -> dict[str, str]:
    answer = ask(app, "/healthz")
    assert answer.status_code == 503
    assert answer.json()["healthy"] is False
    found: dict[str, str] = answer.json()["failing"]
    return found


def test_unhealthy_without_authentik(tmp_path: Path) -> None:
    with authentik() as directory:
        directory.status = 503
        app = application(tmp_path, authentik=directory.url)
        assert failing(app) == {"authentik": "answers with status 503"}
    assert failing(app)["authentik"].startswith("no connection")


def test_unhealthy_while_authentik_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "PATIENCE", 0.2)
    with authentik() as directory:
        directory.silent = threading.Event()
        assert failing(application(tmp_path, authentik=directory.url)) == {"authentik": "no answer within 0.2 s"}


def test_unhealthy_without_its_secret(tmp_path: Path) -> None:
    with authentik() as directory:
        app = application(tmp_path, authentik=directory.url)
        (tmp_path / "session_secret").write_text(" \n", encoding="utf-8")
        assert failing(app) == {"session_secret": "the session secret is empty"}
        (tmp_path / "session_secret").unlink()
        assert "No such file" in failing(app)["session_secret"]
