"""The admin panel. For now one page: who is signed in, which apps there are, where people are managed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import Response

from kmuctl.panel.answers import Answers, answers
from kmuctl.panel.settings import Settings

ALIVE, PATIENCE = "/-/health/live/", 3.0  # seconds
READ = ["GET", "HEAD"]
ERRORS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)


def create(settings: Settings) -> FastAPI:
    answer = answers(settings)
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=_client_while_running
    )
    for status in ERRORS:
        app.add_exception_handler(status, _handler(answer, status))
    _add_health(app, answer, settings)
    _add_pages(app, answer)
    return app


@asynccontextmanager
async def _client_while_running(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        app.state.client = client
        yield


def _handler(answer: Answers, status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        return answer.error(request, status)

    return handle


def _add_health(app: FastAPI, answer: Answers, settings: Settings) -> None:
    @app.api_route("/healthz", methods=READ, response_model=None)
    async def health(request: Request) -> Response:
        """Whether the panel can do its work. That its settings are fine is certain: it would not run otherwise."""
        problems = {
            "session_secret": secret_problem(settings.session_secret),
            "authentik": await authentik_problem(request.app.state.client, settings.authentik),
        }
        failing = {part: problem for part, problem in problems.items() if problem}
        status = HTTPStatus.SERVICE_UNAVAILABLE if failing else HTTPStatus.OK
        return answer.json({"healthy": not failing, "failing": failing}, status)


def _add_pages(app: FastAPI, answer: Answers) -> None:
    @app.api_route("/", methods=READ, response_model=None)
    async def overview(request: Request) -> Response:
        if (name := person(request)) is None:
            return answer.error(request, HTTPStatus.UNAUTHORIZED)
        return answer.page("overview", person=name)

    @app.api_route("/style.css", methods=READ, response_model=None)
    async def style(request: Request) -> Response:
        if person(request) is None:
            return answer.error(request, HTTPStatus.UNAUTHORIZED)
        return answer.style()


def person(request: Request) -> str | None:
    """Who is signed in, as Caddy learned it from Authentik; None when the request came another way."""
    if not (username := _header(request, "x-authentik-username")):
        return None
    return _header(request, "x-authentik-name") or username


def _header(request: Request, name: str) -> str:
    # Authentik sends names as UTF-8, the framework reads header bytes as Latin-1.
    return request.headers.get(name, "").encode("latin-1").decode("utf-8", "replace").strip()


def secret_problem(path: Path) -> str:
    try:
        return "" if path.read_bytes().strip() else "the session secret is empty"
    except OSError as error:
        return f"the session secret cannot be read: {error.strerror}"


async def authentik_problem(client: httpx.AsyncClient, address: str) -> str:
    try:
        async with asyncio.timeout(PATIENCE):  # httpx counts from byte to byte, this the whole
            response = await client.get(address.rstrip("/") + ALIVE)
    except (TimeoutError, httpx.TimeoutException):
        return f"no answer within {PATIENCE:g} s"
    except httpx.HTTPError as error:
        return f"no connection: {error}"
    return "" if response.is_success else f"answers with status {response.status_code}"
