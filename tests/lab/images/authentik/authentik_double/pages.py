"""The few pages a browser sees: the login form, the setup form, the way out."""

import time
from html import escape
from urllib.parse import urlencode, urlsplit

from starlette.responses import HTMLResponse, RedirectResponse, Response

from .accounts import hash_password
from .sessions import DEFAULT_FLOW, Call, HttpError, log_in, stage_models

FORM = """<!doctype html><title>{title}</title><h1>{title} (double)</h1><p>{message}</p>
<form method="post">{fields}<button>Continue</button></form>"""
LOGIN_FIELDS = '<input name="uid_field"><input name="password" type="password">'


def login_page(call: Call, message: str = "", status: int = 200) -> Response:
    stage_models(call.rows, call.request.path_params["key"])
    html = FORM.format(title="Log in", message=escape(message), fields=LOGIN_FIELDS)
    return HTMLResponse(html, status)


def login(call: Call) -> Response:
    slug, form = call.request.path_params["key"], call.form
    user = log_in(call, slug, form.get("uid_field", ""), form.get("password", ""))
    if user is None or not call.cookies:
        return login_page(call, "Invalid password")
    return RedirectResponse(_local(call, call.query.get("next", "/")), 302)


def _local(call: Call, target: str) -> str:
    url = urlsplit(target)
    return target if not url.netloc and target.startswith("/") else "/"


def to_login(call: Call) -> Response:
    here = call.request.url.path + ("?" + call.request.url.query if call.request.url.query else "")
    return RedirectResponse(f"/if/flow/{DEFAULT_FLOW}/?{urlencode({'next': here})}", 302)


def setup_page(call: Call) -> Response:
    _refuse_when_set_up(call)
    return HTMLResponse(FORM.format(title="Initial setup", message="", fields='<input name="password">'))


def setup(call: Call) -> Response:
    """The open door: without bootstrap variables the first visitor becomes akadmin."""
    _refuse_when_set_up(call)
    admin = call.rows.find("authentik_core.user", username="akadmin")
    if admin is None or not call.form.get("password"):
        raise HttpError(400, "password is required")
    admin["_password"] = hash_password(call.form["password"])
    call.rows.all("double.installed")[0]["set_up"] = True
    call.new_session(user=admin["pk"])
    return RedirectResponse("/", 302)


def _refuse_when_set_up(call: Call) -> None:
    # The real server shows an access-denied page here.
    if call.rows.all("double.installed")[0]["set_up"]:
        raise HttpError(404, "this instance is set up already")


def use_recovery_key(call: Call) -> Response:
    """Good once; no flow is asked, so an account without a password gets in too."""
    key = call.rows.find("double.recovery", key=call.request.path_params["key"])
    if key is None or key["expires"] < time.time():
        raise HttpError(404, "no such key")
    call.rows.delete(key["pk"])
    call.new_session(user=key["user"])
    return RedirectResponse("/if/user/", 302)


def home(call: Call) -> Response:
    user = call.session_user()
    if user is None:
        return to_login(call)
    return HTMLResponse(f"<!doctype html><title>authentik double</title><p>{escape(user['username'])}</p>")


ROUTES = [
    ("GET", "/", home),
    ("GET", "/if/user/", home),
    ("GET", "/recovery/use-token/{key}/", use_recovery_key),
    ("GET", "/if/flow/initial-setup/", setup_page),
    ("POST", "/if/flow/initial-setup/", setup),
    ("GET", "/if/flow/{key}/", login_page),
    ("POST", "/if/flow/{key}/", login),
]
