"""The embedded outpost: forward auth for Caddy, its OAuth callback and sign-out."""

import re
import secrets
from urllib.parse import urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from . import VERSION, accounts
from .sessions import Call, HttpError
from .store import Row

COOKIE = "authentik_proxy_double"
BASE = "/outpost.goauthentik.io"


def embedded(call: Call) -> Row:
    outpost = call.rows.find("authentik_outposts.outpost", managed="goauthentik.io/outposts/embedded")
    if outpost is None:
        raise HttpError(404, "embedded outpost is missing")
    return outpost


def provider_for(call: Call) -> tuple[Row, Row]:
    """The proxy provider of this host, and its application; only providers of the embedded outpost count."""
    host = call.host.split(":")[0]
    for key in embedded(call)["providers"]:
        provider = call.rows.find("authentik_providers_proxy.", pk=key)
        application = call.rows.find("authentik_core.application", provider=key)
        if provider and application and _fits(provider, host):
            return provider, application
    raise HttpError(404, f"no provider of the embedded outpost for host {host!r}")


def _fits(provider: Row, host: str) -> bool:
    if urlsplit(provider["external_host"]).hostname == host:
        return True
    domain = str(provider.get("cookie_domain") or "").lstrip(".")
    return provider.get("mode") == "forward_domain" and bool(domain) and f".{host}".endswith("." + domain)


def auth_caddy(call: Call) -> Response:
    provider, application = provider_for(call)
    address = call.header("X-Forwarded-Uri") or "/"
    if _is_public(call, provider, address):
        return Response(status_code=200)
    session = _session(call, provider)
    if session is None:
        return _start(call, provider, call.origin + address)
    user = call.active_user(session["user"])
    assert user is not None
    return Response(status_code=200, headers=_headers(call, user, provider, application))


def _is_public(call: Call, provider: Row, address: str) -> bool:
    subject = call.origin + address if provider.get("mode") == "forward_domain" else address.split("?")[0]
    patterns = str(provider.get("skip_path_regex") or "").splitlines()
    return any(re.search(pattern, subject) for pattern in patterns if pattern)


def _session(call: Call, provider: Row) -> Row | None:
    key = call.request.cookies.get(COOKIE)
    session = call.rows.find("double.proxysession", key=key, provider=provider["pk"]) if key else None
    return session if session and call.active_user(session["user"]) else None


def _headers(call: Call, user: Row, provider: Row, application: Row) -> dict[str, str]:
    groups = "|".join(sorted(group["name"] for group in accounts.all_groups(call.rows, user)))
    values = {
        "Username": user["username"],
        "Groups": groups,
        "Entitlements": "",
        "Email": user["email"],
        "Name": user["name"],
        "Uid": user["uuid"].replace("-", ""),
        "Meta-Outpost": "authentik Embedded Outpost",
        "Meta-Provider": provider["name"],
        "Meta-App": application["slug"],
        "Meta-Version": f"goauthentik.io/outpost/{VERSION}",
    }
    # Headers are Latin-1 here; the real program sends UTF-8 bytes.
    return {f"X-Authentik-{name}": value.encode().decode("latin-1") for name, value in values.items()}


def start(call: Call) -> Response:
    provider, _ = provider_for(call)
    return _start(call, provider, call.query.get("rd") or call.origin + "/")


def _start(call: Call, provider: Row, target: str) -> Response:
    host = embedded(call)["config"].get("authentik_host")
    if not host:
        raise HttpError(500, "embedded outpost: config.authentik_host is empty, the browser cannot be sent anywhere")
    state = call.rows.add("double.state", key=secrets.token_urlsafe(16), target=target)
    parameters = {
        "client_id": provider["client_id"],
        "redirect_uri": callback_of(provider),
        "response_type": "code",
        "scope": "openid profile email",
        "state": state["key"],
    }
    return RedirectResponse(f"{host.rstrip('/')}/application/o/authorize/?{urlencode(parameters)}", 302)


def callback_of(provider: Row) -> str:
    return f"{provider['external_host'].rstrip('/')}{BASE}/callback?X-authentik-auth-callback=true"


def callback(call: Call) -> Response:
    provider, _ = provider_for(call)
    code = call.rows.find("double.code", code=call.query.get("code"), client_id=provider["client_id"])
    state = call.rows.find("double.state", key=call.query.get("state"))
    if code is None or state is None:
        raise HttpError(400, "unknown code or state")
    session = call.rows.add(
        "double.proxysession", key=secrets.token_urlsafe(32), provider=provider["pk"], user=code["user"]
    )
    call.rows.delete(code["pk"])
    call.rows.delete(state["pk"])
    response = RedirectResponse(state["target"], 302)
    domain = provider.get("cookie_domain") if provider.get("mode") == "forward_domain" else None
    secure = call.scheme == "https"
    response.set_cookie(COOKIE, session["key"], httponly=True, secure=secure, samesite="lax", domain=domain or None)
    return response


def sign_out(call: Call) -> Response:
    provider, application = provider_for(call)
    session = _session(call, provider)
    if session:
        call.rows.delete(session["pk"])
    host = str(embedded(call)["config"].get("authentik_host", "")).rstrip("/")
    response = RedirectResponse(f"{host}/application/o/{application['slug']}/end-session/", 302)
    response.delete_cookie(COOKIE)
    return response


def ping(call: Call) -> Response:
    return Response(status_code=204)


ROUTES = [
    ("GET", BASE + "/auth/caddy", auth_caddy),
    ("GET", BASE + "/start", start),
    ("GET", BASE + "/callback", callback),
    ("GET", BASE + "/sign_out", sign_out),
    ("GET", BASE + "/ping", ping),
]
