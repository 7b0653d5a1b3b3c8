"""Browser sessions, the request's public address, and authentication flows reduced to their stages."""

import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from .accounts import check_password, token_owner
from .settings import Settings
from .store import Row, Rows

COOKIE = "authentik_session"
DEFAULT_FLOW = "default-authentication-flow"


class HttpError(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status = status
        self.payload = detail if isinstance(detail, dict) else {"detail": detail}


@dataclass
class Call:
    """One request inside one transaction."""

    request: Request
    rows: Rows
    settings: Settings
    body: bytes
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        return self.settings.trusts(self.request.client.host if self.request.client else "")

    def header(self, name: str) -> str:
        return str(self.request.headers.get(name, ""))

    @property
    def host(self) -> str:
        return (self.trusted and self.header("X-Forwarded-Host")) or self.header("Host")

    @property
    def scheme(self) -> str:
        return (self.trusted and self.header("X-Forwarded-Proto")) or self.request.url.scheme

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query_params)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    def session(self) -> Row | None:
        return self.rows.find("double.session", key=self.request.cookies.get(COOKIE))

    def session_user(self) -> Row | None:
        session = self.session()
        return self.active_user(session.get("user")) if session else None

    def active_user(self, key: Any) -> Row | None:
        user = self.rows.find("authentik_core.user", pk=key) if key else None
        return user if user and user["is_active"] else None

    def bearer(self) -> str:
        kind, _, value = self.header("Authorization").partition(" ")
        return value if kind.lower() == "bearer" else ""

    def caller(self) -> Row:
        if self.bearer():
            owner = token_owner(self.rows, self.bearer())
            if owner is None:
                raise HttpError(403, "Token invalid/expired")
            return owner
        user = self.session_user()
        if user is None:
            raise HttpError(403, "Authentication credentials were not provided.")
        return user

    def new_session(self, **fields: Any) -> Row:
        session = self.rows.add("double.session", key=secrets.token_urlsafe(32), **fields)
        self.cookies[COOKIE] = session["key"]
        return session

    def finish(self, response: Response) -> Response:
        for name, value in self.cookies.items():
            response.set_cookie(name, value, httponly=True, secure=self.scheme == "https", samesite="lax")
        return response


def stage_models(rows: Rows, slug: str) -> list[str]:
    """The stages of a flow in order, by model name without the app."""
    flow = rows.find("authentik_flows.flow", slug=slug)
    if flow is None:
        raise HttpError(404, "No Flow matches the given query.")
    bindings = [row for row in rows.all("authentik_flows.flowstagebinding") if row["target"] == flow["pk"]]
    keys = [binding["stage"] for binding in sorted(bindings, key=lambda row: row["order"])]
    models = [(rows.model_of(key) or "").rpartition(".")[2] for key in keys]
    inline = any(row.get("password_stage") for row in rows.all("authentik_stages_identification.") if row["pk"] in keys)
    return [*models, "passwordstage"] if inline else models


def log_in(call: Call, slug: str, username: str, password: str) -> Row | None:
    """Runs the flow; a session exists only when it has a login stage. Never asks for a second factor."""
    models = stage_models(call.rows, slug)
    if not {"identificationstage", "passwordstage"} <= set(models):
        raise HttpError(400, f"DOUBLE: flow {slug} has no identification and password stage")
    users = call.rows.all("authentik_core.user")
    user = next((row for row in users if username and username in (row["username"], row["email"])), None)
    if user is None or not check_password(call.rows, user, password):
        return None
    if "userloginstage" in models:
        call.new_session(user=user["pk"])
    return user
