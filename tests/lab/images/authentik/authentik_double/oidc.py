"""OpenID Connect for the applications that exist: code flow, PKCE, refresh, RS256 or HS256."""

import base64
import hashlib
import hmac
import re
import secrets
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from starlette.responses import JSONResponse, RedirectResponse, Response

from . import accounts, outpost, pages
from .sessions import COOKIE, Call, HttpError
from .store import Row

LIFETIME = 3600


class TokenError(HttpError):
    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(status, {"error": code, "error_description": f"double: {code}"})


def application_by_slug(call: Call) -> tuple[Row, Row]:
    application = call.rows.find("authentik_core.application", slug=call.request.path_params["key"])
    provider = call.rows.find("authentik_providers_", pk=(application or {}).get("provider"))
    if application is None or provider is None or "client_id" not in provider:
        raise HttpError(404, "No such OAuth2 application.")
    return application, provider


def issuer(call: Call, provider: Row) -> str:
    application = call.rows.find("authentik_core.application", provider=provider["pk"]) or {}
    if provider.get("issuer_mode") == "global":
        return call.origin + "/"
    return f"{call.origin}/application/o/{application.get('slug')}/"


def discovery(call: Call) -> Response:
    application, provider = application_by_slug(call)
    base, own = f"{call.origin}/application/o", f"{call.origin}/application/o/{application['slug']}"
    scopes = [row["scope_name"] for row in mappings(call, provider)]
    return JSONResponse(
        {
            "issuer": issuer(call, provider),
            "authorization_endpoint": f"{base}/authorize/",
            "token_endpoint": f"{base}/token/",
            "userinfo_endpoint": f"{base}/userinfo/",
            "end_session_endpoint": f"{own}/end-session/",
            "jwks_uri": f"{own}/jwks/",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": provider["grant_types"],
            "id_token_signing_alg_values_supported": ["RS256" if provider.get("signing_key") else "HS256"],
            "subject_types_supported": ["public"],
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "scopes_supported": scopes,
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "email", "name", "preferred_username", "groups"],
        }
    )


def jwks(call: Call) -> Response:
    _, provider = application_by_slug(call)
    key = _signing_key(call, provider)
    if key is None:
        return JSONResponse({"keys": []})
    public = load_pem_private_key(key["_key"].encode(), None).public_key()
    document = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)  # type: ignore[arg-type]
    return JSONResponse({"keys": [{**document, "kid": _key_id(key), "alg": "RS256", "use": "sig"}]})


def _signing_key(call: Call, provider: Row) -> Row | None:
    key = provider.get("signing_key")
    return call.rows.find("authentik_crypto.certificatekeypair", pk=key) if key else None


def _key_id(key: Row) -> str:
    return hashlib.sha256(key["_key"].encode()).hexdigest()[:32]


def mappings(call: Call, provider: Row) -> list[Row]:
    keys = provider.get("property_mappings") or []
    return [row for row in call.rows.all("authentik_providers_oauth2.scopemapping") if row["pk"] in keys]


def authorize(call: Call) -> Response:
    query = call.query
    provider = _provider_by_client(call, query.get("client_id"))
    if provider is None:
        raise HttpError(400, "Invalid client identifier")
    target = query.get("redirect_uri", "")
    if not _redirect_allowed(provider, target, "authorization"):
        raise HttpError(400, f"Redirect URI Error: {target}")
    if query.get("response_type") != "code" or "authorization_code" not in _grants(provider):
        return _back(target, error="invalid_request", state=query.get("state", ""))
    user = call.session_user()
    if user is None:
        return pages.to_login(call)
    application = call.rows.find("authentik_core.application", provider=provider["pk"])
    if application is None or not accounts.may_open(call.rows, user, application):
        raise HttpError(403, "Permission denied: policy of the application refused")
    kept = {name: query.get(name, "") for name in ("nonce", "scope", "code_challenge", "code_challenge_method")}
    code = call.rows.add("double.code", code=secrets.token_urlsafe(24), client_id=provider["client_id"])
    code.update(kept, user=user["pk"], redirect_uri=target, expires=time.time() + 60)
    return _back(target, code=code["code"], state=query.get("state", ""))


def _grants(provider: Row) -> list[str]:
    # Proxy providers get their grants from the server on each save.
    return ["authorization_code"] if "external_host" in provider else list(provider["grant_types"])


def _provider_by_client(call: Call, client_id: str | None) -> Row | None:
    return call.rows.find("authentik_providers_", client_id=client_id) if client_id else None


def _redirect_allowed(provider: Row, target: str, kind: str) -> bool:
    if "external_host" in provider:
        return target == outpost.callback_of(provider)
    for uri in provider["redirect_uris"]:
        if uri.get("redirect_uri_type", "authorization") != kind:
            continue
        if target == uri["url"] or (uri["matching_mode"] == "regex" and re.fullmatch(uri["url"], target)):
            return True
    return False


def _back(target: str, **parameters: str) -> Response:
    filled = {name: value for name, value in parameters.items() if value}
    return RedirectResponse(target + ("&" if urlsplit(target).query else "?") + urlencode(filled), 302)


def token(call: Call) -> Response:
    form, provider = call.form, _client(call)
    grant = form.get("grant_type", "")
    if grant not in ("authorization_code", "refresh_token"):
        raise TokenError("unsupported_grant_type")
    if grant not in provider["grant_types"]:
        raise TokenError("invalid_grant")
    stored = _redeem_code(call, provider) if grant == "authorization_code" else _redeem_refresh(call, provider)
    user = call.active_user(stored["user"])
    if user is None:
        raise TokenError("invalid_grant")
    return _tokens(call, provider, user, stored)


def _client(call: Call) -> Row:
    client_id, secret = call.form.get("client_id"), call.form.get("client_secret", "")
    kind, _, value = call.header("Authorization").partition(" ")
    if kind.lower() == "basic":
        client_id, _, secret = base64.b64decode(value).decode().partition(":")
        client_id, secret = unquote(client_id), unquote(secret)
    provider = _provider_by_client(call, client_id)
    if provider is None:
        raise TokenError("invalid_client", 401)
    if provider.get("client_type") != "public" and not hmac.compare_digest(provider["client_secret"], secret):
        raise TokenError("invalid_client", 401)
    return provider


def _redeem_code(call: Call, provider: Row) -> Row:
    form = call.form
    stored = call.rows.find("double.code", code=form.get("code"), client_id=provider["client_id"])
    if stored is None or stored["expires"] < time.time() or stored["redirect_uri"] != form.get("redirect_uri"):
        raise TokenError("invalid_grant")
    call.rows.delete(stored["pk"])
    challenge = stored["code_challenge"]
    if bool(challenge) != bool(form.get("code_verifier")) or (
        challenge and not _pkce_fits(stored, form["code_verifier"])
    ):
        raise TokenError("invalid_grant")
    return stored


def _pkce_fits(stored: Row, verifier: str) -> bool:
    if stored["code_challenge_method"] != "S256":
        return bool(stored["code_challenge"] == verifier)
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return bool(stored["code_challenge"] == digest)


def _redeem_refresh(call: Call, provider: Row) -> Row:
    key = call.form.get("refresh_token")
    stored = call.rows.find("double.refresh", key=key, client_id=provider["client_id"])
    if stored is None:
        raise TokenError("invalid_grant")
    call.rows.delete(stored["pk"])
    return {**stored, "nonce": ""}


def _tokens(call: Call, provider: Row, user: Row, stored: Row) -> Response:
    allowed = {row["scope_name"] for row in mappings(call, provider)}
    scopes = [scope for scope in stored["scope"].split() if scope in allowed]
    now = int(time.time())
    basic = {"iss": issuer(call, provider), "aud": provider["client_id"], "iat": now, "exp": now + LIFETIME}
    claims = {**basic, "auth_time": now, "sub": subject(call, provider, user)}
    if stored.get("nonce"):
        claims["nonce"] = stored["nonce"]
    if provider.get("include_claims_in_id_token", True):
        claims.update(scope_claims(call, provider, user, scopes))
    signed = _sign(call, provider, claims)
    access = call.rows.add("double.access", key=_sign(call, provider, {**claims, "jti": secrets.token_hex(8)}))
    access.update(user=user["pk"], provider=provider["pk"], scope=" ".join(scopes), expires=now + LIFETIME)
    answer = {"access_token": access["key"], "token_type": "Bearer", "expires_in": LIFETIME, "scope": " ".join(scopes)}
    if "openid" in scopes:
        answer["id_token"] = signed
    if "offline_access" in scopes and "refresh_token" in provider["grant_types"]:
        refresh = call.rows.add("double.refresh", key=secrets.token_urlsafe(32), client_id=provider["client_id"])
        refresh.update(user=user["pk"], scope=" ".join(scopes))
        answer["refresh_token"] = refresh["key"]
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _sign(call: Call, provider: Row, claims: dict[str, Any]) -> str:
    key = _signing_key(call, provider)
    if key is None:
        return jwt.encode(claims, provider["client_secret"], "HS256")
    return jwt.encode(claims, key["_key"], "RS256", {"kid": _key_id(key)})


def subject(call: Call, provider: Row, user: Row) -> str:
    [installation] = call.rows.all("double.installed")  # kept in the database: no new secret key changes it
    hashed = hashlib.sha256(f"{user['pk']}-{installation['pk']}".encode()).hexdigest()
    choices = {
        "hashed_user_id": hashed,
        "user_id": str(user["pk"]),
        "user_uuid": user["uuid"],
        "user_username": user["username"],
        "user_email": user["email"],
        "user_upn": str(user["attributes"].get("upn", user["username"])),
    }
    return str(choices[provider.get("sub_mode", "hashed_user_id")])


def scope_claims(call: Call, provider: Row, user: Row, scopes: list[str]) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    for mapping in mappings(call, provider):
        if mapping["scope_name"] in scopes:
            claims.update(_evaluate(call, mapping, user) or {})
    return claims


def _evaluate(call: Call, mapping: Row, user: Row) -> Any:
    known = accounts.all_groups(call.rows, user)
    groups = [row["name"] for row in known]
    if str(mapping.get("managed")).startswith("goauthentik.io/"):
        return _default_claims(mapping["scope_name"], user, groups)
    names = [SimpleNamespace(name=name) for name in groups]
    people = SimpleNamespace(**{key: value for key, value in user.items() if not key.startswith("_")})
    people.groups = people.ak_groups = SimpleNamespace(all=lambda: names)
    people.all_groups = lambda: names
    attributes = {key: value for row in [*known, user] for key, value in (row.get("attributes") or {}).items()}
    people.group_attributes = lambda: attributes
    body = "\n".join("    " + line for line in mapping["expression"].splitlines())
    scope: dict[str, Any] = {"request": SimpleNamespace(user=people), "user": people, "provider": None}
    exec("def expression():\n" + body, scope)  # the real program runs it as well
    return scope["expression"]()


def _default_claims(scope: str, user: Row, groups: list[str]) -> dict[str, Any]:
    username = user["username"]
    profile = {"name": user["name"], "given_name": user["name"], "preferred_username": username, "nickname": username}
    claims: dict[str, dict[str, Any]] = {
        "email": {"email": user["email"], "email_verified": False},
        "profile": {**profile, "groups": groups},
        "entitlements": {"entitlements": [], "roles": []},
    }
    return claims.get(scope, {})


def userinfo(call: Call) -> Response:
    access = call.rows.find("double.access", key=call.bearer())
    user = call.active_user(access["user"]) if access and access["expires"] > time.time() else None
    provider = call.rows.find("authentik_providers_", pk=(access or {}).get("provider"))
    if access is None or user is None or provider is None:
        raise TokenError("invalid_token", 401)
    claims = scope_claims(call, provider, user, access["scope"].split())
    return JSONResponse({"sub": subject(call, provider, user), **claims})


def end_session(call: Call) -> Response:
    _, provider = application_by_slug(call)
    session = call.session()
    if session:
        call.rows.delete(session["pk"])
    target = call.query.get("post_logout_redirect_uri", "")
    allowed = "redirect_uris" in provider and _redirect_allowed(provider, target, "logout")
    response = RedirectResponse(target if allowed else "/", 302)
    response.delete_cookie(COOKIE)
    return response


ROUTES = [
    ("GET", "/application/o/authorize/", authorize),
    ("POST", "/application/o/token/", token),
    ("GET", "/application/o/userinfo/", userinfo),
    ("POST", "/application/o/userinfo/", userinfo),
    ("GET", "/application/o/{key}/.well-known/openid-configuration", discovery),
    ("GET", "/application/o/{key}/jwks/", jwks),
    ("GET", "/application/o/{key}/end-session/", end_session),
]
