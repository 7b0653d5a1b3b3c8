"""The HTTP side: JMAP session and management calls, health, schema, metrics."""

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from .keyring import Keyring
from .registry import MethodError, Registry
from .schema import FILE, SetError, kind_of, resolve_secret
from .store import Row, Store, Tables

CORE, MANAGEMENT = "urn:ietf:params:jmap:core", "urn:stalwart:jmap"
LIMIT = 500
ARGUMENTS = {
    "get": {"accountId", "ids", "properties"},
    "query": {"accountId", "filter", "sort", "limit", "anchor", "anchorOffset", "position", "calculateTotal"},
    "set": {"accountId", "create", "update", "destroy", "ifInState"},
}


@dataclass
class Service:
    """One running server: the rows, and the settings as they were at the last reload."""

    store: Store
    mode: str = "normal"
    recovery_admin: str = ""
    public_url: str = ""
    live: Tables = field(default_factory=dict)
    keyring: Keyring = field(default_factory=Keyring)

    def reload(self) -> None:
        with self.store.transaction() as tables:
            self.live = deepcopy(tables)

    def registry(self, tables: Tables) -> Registry:
        return Registry(tables, recovery=self.mode == "recovery", keyring=self.keyring)


@dataclass(frozen=True)
class Caller:
    name: str
    account: str | None
    admin: bool


def account_by_address(tables: Tables, login: str) -> tuple[str, Row] | None:
    name, _, domain = login.partition("@")
    for key, row in tables.get("x:Account", {}).items():
        if row["name"] == name and tables["x:Domain"][row["domainId"]]["name"] == domain:
            return key, row
    return None


def app_password_owner(tables: Tables, login: str, password: str) -> str | None:
    found = account_by_address(tables, login)
    for row in tables.get("x:AppPassword", {}).values():
        if found and row["_account"] == found[0] and row["_secret"] == password:
            return found[0]
    return None


def local_password_fits(row: Row, password: str) -> bool:
    for item in (row.get("credentials") or {}).values():
        try:
            return bool(PasswordHasher().verify(item["secret"], password))
        except Argon2Error:
            return False
    return False


class Unreachable(Exception):
    """The LDAP directory does not answer: a temporary failure, whatever is asked."""


def is_recovery_admin(service: Service, login: str, password: str) -> bool:
    name, _, secret = service.recovery_admin.partition(":")
    if not name or login != name:
        return False
    if secret.startswith("$argon2"):
        return local_password_fits({"credentials": {"0": {"secret": secret}}}, password)
    return bool(secret) and secret == password


def identify(service: Service, tables: Tables, authorization: str) -> Caller | None:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        rows = tables.get("x:ApiKey", {}).values()
        owner = next((row["_account"] for row in rows if row["_secret"] == value), None)
        return _account_caller(tables, owner) if owner else None
    if kind.lower() != "basic":
        return None
    try:
        login, _, password = base64.b64decode(value).decode().partition(":")
    except ValueError:
        return None
    return _password_caller(service, tables, login, password)


def _password_caller(service: Service, tables: Tables, login: str, password: str) -> Caller | None:
    target, _, master = login.partition("%")
    if master:
        impersonator = _password_caller(service, tables, master, password)
        found = account_by_address(tables, target)
        return Caller(target, found[0], False) if impersonator and impersonator.admin and found else None
    if is_recovery_admin(service, login, password):
        return Caller(login, None, True)
    owner = app_password_owner(tables, login, password)
    found = account_by_address(tables, login)
    if owner is None and directory_knows(service, login, password):
        return Caller(login, found[0] if found else None, False)
    if owner is None and found and not service.live.get("x:Authentication", {}).get("singleton", {}).get("directoryId"):
        owner = found[0] if local_password_fits(found[1], password) else None
    return _account_caller(tables, owner) if owner else None


def directory_knows(service: Service, login: str, password: str) -> bool:
    """People sign in here as they do to mail."""
    from .mail import directory, ldap_login

    row = directory(service)
    return row is not None and "@" in login and ldap_login(row, login, password)


def _account_caller(tables: Tables, key: str) -> Caller | None:
    row = tables.get("x:Account", {}).get(key)
    if row is None:
        return None
    return Caller(row["name"], key, row.get("roles", {}).get("@type") == "Admin")


def problem(status: int, title: str, headers: dict[str, str] | None = None) -> Response:
    body = {"type": "about:blank", "status": status, "title": title, "detail": title}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def session_document(service: Service, caller: Caller) -> Row:
    core = {"maxObjectsInGet": LIMIT, "maxObjectsInSet": LIMIT, "maxCallsInRequest": 16, "maxSizeRequest": 10_000_000}
    account = caller.account or "admin"
    base = service.public_url or "https://localhost"
    return {
        "capabilities": {CORE: core, MANAGEMENT: {}},
        "accounts": {account: {"name": caller.name, "isPersonal": True, "accountCapabilities": {MANAGEMENT: {}}}},
        "primaryAccounts": {MANAGEMENT: account},
        "username": caller.name,
        "apiUrl": f"{base}/jmap/",
        "state": "double",
    }


def run_request(service: Service, tables: Tables, caller: Caller, body: Row) -> tuple[Row, bool]:
    if set(body) - {"using", "methodCalls", "createdIds"} or MANAGEMENT not in body.get("using", []):
        raise MethodError(f"notRequest: unknown keys, or {MANAGEMENT} is missing in using")
    registry, created = service.registry(tables), dict(body.get("createdIds") or {})
    answers = [_run_method(service, registry, caller, call, created) for call in body["methodCalls"]]
    answer: Row = {"methodResponses": answers, "sessionState": "double"}
    if "createdIds" in body:
        answer["createdIds"] = created
    return answer, registry.reloaded


def _run_method(service: Service, registry: Registry, caller: Caller, call: list[Any], created: dict[str, str]) -> Any:
    method, arguments, tag = call
    name, _, verb = method.rpartition("/")
    try:
        _check_method(service, caller, name, verb, arguments)
        owner = arguments.get("accountId") or caller.account
        if owner != caller.account and not caller.admin:
            raise MethodError("forbidden: impersonate")
        return [method, VERBS[verb](registry, name, arguments, owner, created), tag]
    except MethodError as error:
        kind, _, description = str(error).partition(": ")
        return ["error", {"type": kind, "description": description}, tag]


def _check_method(service: Service, caller: Caller, name: str, verb: str, arguments: Row) -> None:
    if verb not in ARGUMENTS or kind_of(name) is None:
        raise MethodError(f"unknownMethod: {name}/{verb}")
    if service.mode == "bootstrap":
        raise MethodError("forbidden: bootstrap mode; the double does not implement x:Bootstrap")
    if not caller.admin and name not in ("x:AppPassword", "x:ApiKey"):
        raise MethodError(f"forbidden: {caller.name} may not use {name}/{verb}")
    if arguments.keys() - ARGUMENTS[verb]:
        raise MethodError(f"invalidArguments: unknown {sorted(arguments.keys() - ARGUMENTS[verb])}")


def _get(registry: Registry, name: str, arguments: Row, owner: str | None, created: dict[str, str]) -> Row:
    keys = resolve(arguments.get("ids"), created)
    return {"accountId": owner, **registry.get(name, keys, arguments.get("properties"), owner)}


def _query(registry: Registry, name: str, arguments: Row, owner: str | None, created: dict[str, str]) -> Row:
    keys = registry.query(name, resolve(arguments.get("filter") or {}, created), owner)
    if arguments.get("anchor"):
        start = keys.index(arguments["anchor"]) + int(arguments.get("anchorOffset", 0))
        keys = keys[max(start, 0) :]
    return {"accountId": owner, "ids": keys[: arguments.get("limit") or LIMIT], "position": 0, "queryState": "double"}


def _set(registry: Registry, name: str, arguments: Row, owner: str | None, created: dict[str, str]) -> Row:
    answer: Row = {"accountId": owner, "oldState": "double", "newState": "double"}

    def attempt(good: str, bad: str, key: str, action: Callable[[], Any]) -> None:
        try:
            result = action()
            if good == "destroyed":
                answer.setdefault(good, []).append(key)
            else:
                answer.setdefault(good, {})[key] = result
        except SetError as error:
            answer.setdefault(bad, {})[key] = error.body

    def create(client: str, body: Row) -> Row:
        made = registry.create(name, resolve(body, created), owner)
        created[client] = made["id"]
        return made

    for client, body in (arguments.get("create") or {}).items():
        attempt("created", "notCreated", client, lambda client=client, body=body: create(client, body))  # type: ignore[misc]
    for key, patch in (arguments.get("update") or {}).items():
        real, change = resolve(key, created), resolve(patch, created)
        attempt("updated", "notUpdated", real, lambda real=real, change=change: registry.update(name, real, change))  # type: ignore[misc]
    for key in resolve(arguments.get("destroy") or [], created):
        attempt("destroyed", "notDestroyed", key, lambda key=key: registry.destroy(name, key))  # type: ignore[misc]
    return answer


VERBS = {"get": _get, "query": _query, "set": _set}


def resolve(value: Any, created: dict[str, str]) -> Any:
    """#clientId in any string value or object key."""
    if isinstance(value, dict):
        return {resolve(key, created): resolve(item, created) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, created) for item in value]
    if isinstance(value, str) and value.startswith("#"):
        return created.get(value[1:], value)
    return value


def metrics_allowed(service: Service, authorization: str) -> bool | None:
    """None: metrics are off."""
    prometheus = service.live.get("x:Metrics", {}).get("singleton", {}).get("prometheus", {})
    if prometheus.get("@type") != "Enabled":
        return None
    user = prometheus.get("authUsername")
    if not user:
        return True
    expected = f"{user}:{resolve_secret(prometheus.get('authSecret'), os.environ)}"
    return authorization == "Basic " + base64.b64encode(expected.encode()).decode()


def sts_policy(live: Tables) -> str | None:
    """What other servers may insist on, whatever name they ask for it; None: nothing."""
    settings = live.get("x:MtaSts", {}).get("singleton", {})
    hosts = settings.get("mxHosts")
    if settings.get("mode", "testing") == "disable" or not hosts:
        return None
    lines = ["version: STSv1", f"mode: {settings['mode']}", f"max_age: {settings['maxAge'] // 1000}"]
    return "".join(f"{line}\r\n" for line in [*lines, *(f"mx: {host}" for host in sorted(hosts))])


def application(service: Service) -> Starlette:
    async def healthy(request: Request) -> Response:
        """Live and ready alike, whatever became of the database: the real one looks at its configuration only."""
        return problem(200, "OK")

    async def well_known(request: Request) -> Response:
        return RedirectResponse("/jmap/session", 307)

    def authenticated(action: Callable[[Request, Tables, Caller, bytes], Response]) -> Any:
        def run(request: Request, body: bytes) -> Response:
            try:
                with service.store.transaction() as tables:
                    caller = identify(service, tables, request.headers.get("authorization", ""))
                    if caller is None:
                        return problem(401, "Unauthorized", {"WWW-Authenticate": 'Basic realm="Stalwart"'})
                    answer = action(request, tables, caller, body)
            except psycopg.OperationalError:
                return problem(503, "data store is away")
            except Unreachable:
                return problem(500, "Internal Server Error")
            if answer.headers.get("x-double-reload"):
                service.reload()
            return answer

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(run, request, await request.body())

        return endpoint

    def exchange(form: dict[str, list[str]]) -> Response:
        """An OAuth code for tokens. The double gives no codes, so none is ever found; looked up it is."""
        if form.get("grant_type") != ["authorization_code"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if not form.keys() >= {"code", "client_id", "redirect_uri"}:
            return JSONResponse({"error": "invalid_client"}, 400)
        try:
            with service.store.transaction():
                return JSONResponse({"error": "access_denied"}, 400)
        except psycopg.OperationalError:
            return problem(500, "data store is away")

    async def token(request: Request) -> Response:
        if not request.headers.get("content-type"):
            return problem(400, "Invalid post request")
        return await run_in_threadpool(exchange, parse_qs((await request.body()).decode()))

    def session(request: Request, tables: Tables, caller: Caller, body: bytes) -> Response:
        return JSONResponse(session_document(service, caller))

    def jmap(request: Request, tables: Tables, caller: Caller, body: bytes) -> Response:
        try:
            answer, reloaded = run_request(service, tables, caller, json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, MethodError) as error:
            return problem(400, f"not a JMAP request: {error}")
        return JSONResponse(answer, headers={"x-double-reload": "1"} if reloaded else None)

    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()

    def to_schema(request: Request, tables: Tables, caller: Caller, body: bytes) -> Response:
        return RedirectResponse(f"/api/schema/{digest}", 302)

    def schema_file(request: Request, tables: Tables, caller: Caller, body: bytes) -> Response:
        if request.path_params["digest"] != digest:
            return problem(404, "Not Found")
        return Response(gzip.decompress(FILE.read_bytes()), media_type="application/json")

    async def root(request: Request) -> Response:
        http = service.live.get("x:Http", {}).get("singleton", {})
        return RedirectResponse(http.get("redirectRoot", "/account"), 302)

    async def account(request: Request) -> Response:
        """The real page is loaded from the internet at the first start."""
        if request.url.path == "/account":
            return RedirectResponse("/account/", 302)
        return HTMLResponse("<!doctype html><title>Stalwart double</title><h1>Account (double)</h1>")

    async def mta_sts(request: Request) -> Response:
        policy = sts_policy(service.live)
        return problem(404, "Not Found") if policy is None else PlainTextResponse(policy)

    async def metrics(request: Request) -> Response:
        allowed = metrics_allowed(service, request.headers.get("authorization", ""))
        if not allowed:
            return problem(404, "Not Found") if allowed is None else problem(401, "Unauthorized")
        return PlainTextResponse("# TYPE stalwart_double gauge\nstalwart_double 1\n")

    return Starlette(
        routes=[
            Route("/", root),
            Route("/account", account),
            Route("/account/", account),
            Route("/healthz/live", healthy),
            Route("/healthz/ready", healthy),
            Route("/auth/token", token, methods=["POST"]),
            Route("/.well-known/jmap", well_known),
            Route("/.well-known/mta-sts.txt", mta_sts),
            Route("/jmap/session", authenticated(session)),
            Route("/jmap", authenticated(jmap), methods=["POST"]),
            Route("/jmap/", authenticated(jmap), methods=["POST"]),
            Route("/api/schema", authenticated(to_schema)),
            Route("/api/schema/{digest}", authenticated(schema_file)),
            Route("/metrics/prometheus", metrics),
        ]
    )
