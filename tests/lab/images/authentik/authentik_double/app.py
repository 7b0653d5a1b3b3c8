"""The HTTP programs: the server, and the worker's health answers."""

import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import UnknownToDouble, api, oidc, outpost, pages
from .sessions import Call, HttpError
from .settings import Settings
from .store import Store
from .tags import BlueprintInvalid


class Refused(Exception):
    """Leaves the transaction without saving."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def answer(store: Store, settings: Settings, request: Request, body: bytes, handler: api.Handler) -> Response:
    try:
        with store.transaction() as rows:
            call = Call(request, rows, settings, body)
            return call.finish(_run(handler, call))
    except Refused as refused:
        return refused.response
    except psycopg.OperationalError:
        return JSONResponse({"detail": "database is away"}, 503)


def _run(handler: api.Handler, call: Call) -> Response:
    try:
        return handler(call)
    except HttpError as error:
        raise Refused(JSONResponse(error.payload, error.status)) from error
    except BlueprintInvalid as error:
        field, _, message = str(error).partition(": ")
        raise Refused(JSONResponse({field: [message]}, 400)) from error
    except UnknownToDouble as error:
        raise Refused(JSONResponse({"detail": f"DOUBLE of Authentik does not know this: {error}"}, 501)) from error


def _route(store: Store, settings: Settings, path: str, handlers: dict[str, api.Handler]) -> Route:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        body = await request.body()
        return await run_in_threadpool(answer, store, settings, request, body, handlers[method])

    return Route(path, endpoint, methods=list(handlers))


def health_routes(store: Store, *names: str) -> list[Route]:
    async def live(request: Request) -> Response:
        return Response(status_code=200)

    def ready(request: Request) -> Response:
        return Response(status_code=200 if store.ping() else 503)

    return [Route(f"/-/{name}/live/", live) for name in names] + [Route(f"/-/{name}/ready/", ready) for name in names]


def server(store: Store, settings: Settings) -> Starlette:
    table: dict[str, dict[str, api.Handler]] = {}
    for method, path, handler in [*outpost.ROUTES, *pages.ROUTES, *oidc.ROUTES, *api.routes()]:
        table.setdefault(path, {})[method] = handler
    routes = [_route(store, settings, path, handlers) for path, handlers in table.items()]
    return Starlette(routes=[*health_routes(store, "health"), *routes])


def worker(store: Store) -> Starlette:
    """The real one misspells its paths, and says yes to every path that it does not know."""

    async def anything(request: Request) -> Response:
        return Response(status_code=200)

    return Starlette(routes=[*health_routes(store, "heath"), Route("/{path:path}", anything)])
