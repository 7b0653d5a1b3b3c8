"""The part of /api/v3 that the project uses, as one table. Unknown filters and fields are refused."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.responses import JSONResponse, RedirectResponse, Response

from . import VERSION, UnknownToDouble, accounts, importer
from .sessions import Call, HttpError, log_in, stage_models
from .store import Row
from .tags import public

Handler = Callable[[Call], Response]
IGNORED = {
    "superuser_full_list",
    "include_details",
    "page",
    "page_size",
    "ordering",
    "search",
    "include_groups",
    "include_users",
    "include_roles",
    "include_children",
}
OUTPOST_MAY = {
    "authentik_core.view_user",
    "authentik_core.view_group",
    "authentik_outposts.view_outpost",
    "authentik_providers_ldap.view_ldapprovider",
}
USER_FILTERS: dict[str, Callable[[Call, Row, str], bool]] = {
    **{
        name: lambda call, row, value, name=name: row[name] == value  # type: ignore[misc]
        for name in ("username", "email", "name", "uuid", "path")
    },
    "type": lambda call, row, value: row["type"] in call.request.query_params.getlist("type"),
    "is_active": lambda call, row, value: row["is_active"] == (value.lower() == "true"),
    "is_superuser": lambda call, row, value: accounts.is_superuser(call.rows, row) == (value.lower() == "true"),
    "path_startswith": lambda call, row, value: row["path"].startswith(value),
    "groups_by_name": lambda call, row, value: value in _group_names(call, row),
}


def by_field(*names: str) -> dict[str, Callable[[Call, Row, str], bool]]:
    def compare(name: str) -> Callable[[Call, Row, str], bool]:
        field, _, lookup = name.partition("__")
        if lookup == "iexact":
            return lambda call, row, value: str(row.get(field)).lower() == value.lower()
        return lambda call, row, value: value in (str(row.get(field)), json.dumps(row.get(field)))

    return {name: compare(name) for name in names}


def listing(
    call: Call, rows: list[Row], filters: dict[str, Callable[[Call, Row, str], bool]], show: Callable[[Call, Row], Row]
) -> Response:
    for name, value in call.query.items():
        if name not in filters and name not in IGNORED:
            raise UnknownToDouble(f"query parameter {name}")
        if name in filters:
            rows = [row for row in rows if filters[name](call, row, value)]
    search = call.query.get("search", "").lower()
    rows = [row for row in rows if search in json.dumps(public(row)).lower()]
    order = call.query.get("ordering", "pk")
    rows.sort(key=lambda row: str(row.get(order.lstrip("-"), "")).zfill(12), reverse=order.startswith("-"))
    return _page(call, [show(call, row) for row in rows])


def _page(call: Call, items: list[Row]) -> Response:
    size = max(1, min(int(call.query.get("page_size", 20)), 100))
    total = max(1, -(-len(items) // size))
    current = int(call.query.get("page", 1))
    if not 1 <= current <= total:
        raise HttpError(404, "Invalid page.")
    start = (current - 1) * size
    part = items[start : start + size]
    pagination = {
        "next": current + 1 if current < total else 0,
        "previous": current - 1,
        "count": len(items),
        "current": current,
        "total_pages": total,
        "start_index": start + 1 if part else 0,
        "end_index": start + len(part),
    }
    return JSONResponse({"pagination": pagination, "results": part, "autocomplete": {}})


def read_json(call: Call, known: set[str] | None = None) -> Row:
    try:
        data = json.loads(call.body or b"{}")
    except ValueError as error:
        raise HttpError(400, f"JSON parse error - {error}") from error
    if not isinstance(data, dict) or (known is not None and data.keys() - known):
        raise HttpError(400, f"DOUBLE: unknown fields in {sorted(data)}")
    return data


def the(call: Call, model: str, field: str = "pk") -> Row:
    wanted = str(call.request.path_params["key"])
    row = next((row for row in call.rows.all(model) if str(row.get(field)) == wanted), None)
    if row is None:
        raise HttpError(404, "No object matches the given query.")
    return row


def _group_names(call: Call, user: Row) -> list[str]:
    return [row["name"] for row in call.rows.all("authentik_core.group") if row["pk"] in user["groups"]]


def show_user(call: Call, row: Row) -> Row:
    groups = [
        show_group(call, group) for group in call.rows.all("authentik_core.group") if group["pk"] in row["groups"]
    ]
    with_groups = call.query.get("include_groups", "true") != "false"
    shown = {name: value for name, value in public(row).items() if name != "permissions"}
    return {
        **shown,
        "is_superuser": accounts.is_superuser(call.rows, row),
        "groups_obj": groups if with_groups else None,
        "roles_obj": None,
        "uid": row["uuid"].replace("-", "") * 2,
        "avatar": "",
        "last_login": row.get("last_login"),
        "date_joined": "2026-01-01T00:00:00Z",
        "password_change_date": "2026-01-01T00:00:00Z",
        "last_updated": "2026-01-01T00:00:00Z",
    }


def show_group(call: Call, row: Row) -> Row:
    members = [user["pk"] for user in call.rows.all("authentik_core.user") if row["pk"] in user["groups"]]
    basic = {"is_superuser": False, "parents": [], "roles": [], "attributes": {}}
    number = 4000 + int(row["pk"][:4], 16)
    return {**basic, **public(row), "num_pk": number, "users": members}


def show_plain(call: Call, row: Row) -> Row:
    return public(row)


def show_outpost(call: Call, row: Row) -> Row:
    providers = [
        public(provider) for provider in call.rows.all("authentik_providers_") if provider["pk"] in row["providers"]
    ]
    extra = {"managed": None, "service_connection": None, "service_connection_obj": None, "refresh_interval_s": 300}
    return {**extra, **public(row), "providers_obj": providers, "token_identifier": f"ak-outpost-{row['pk']}-api"}


def users_list(call: Call) -> Response:
    return listing(call, call.rows.all("authentik_core.user"), USER_FILTERS, show_user)


def users_create(call: Call) -> Response:
    data = read_json(call)
    _refuse_blueprint_only(data)
    return JSONResponse(show_user(call, importer.save(call.rows, "authentik_core.user", data, None)), 201)


def _refuse_blueprint_only(data: Row) -> None:
    for name in ("password", "password_hash", "permissions"):
        if name in data:
            raise HttpError(400, {name: ["DOUBLE: only blueprints may set this; the API ignores it"]})


def users_change(call: Call) -> Response:
    user, data = the(call, "authentik_core.user"), read_json(call)
    _refuse_blueprint_only(data)
    importer.save(call.rows, "authentik_core.user", data, user)
    if not user["is_active"]:
        for session in call.rows.all("double.session"):
            if session.get("user") == user["pk"]:
                call.rows.delete(session["pk"])
    return JSONResponse(show_user(call, user))


def role_unassign(call: Call) -> Response:
    """Takes rights on one object from a role."""
    role = the(call, "authentik_rbac.role")
    data = read_json(call, {"permissions", "model", "object_pk"})
    target = next(row for row in call.rows.all(data["model"]) if str(row["pk"]) == data["object_pk"])
    lost = [{"permission": name, "role": role["pk"]} for name in data["permissions"]]
    target["_permissions"] = [grant for grant in target.get("_permissions", []) if grant not in lost]
    return Response(status_code=204)


def users_delete(call: Call) -> Response:
    call.rows.delete(the(call, "authentik_core.user")["pk"])
    return Response(status_code=204)


def users_password(call: Call) -> Response:
    user, data = the(call, "authentik_core.user"), read_json(call, {"password"})
    if not data.get("password"):
        raise HttpError(400, {"password": ["This field is required."]})
    user["_password"] = accounts.hash_password(data["password"])
    return Response(status_code=204)


def users_recovery(call: Call) -> Response:
    user = the(call, "authentik_core.user")
    read_json(call, {"token_duration"})
    brand = call.rows.find("authentik_brands.brand", default=True) or {}
    flow = call.rows.find("authentik_flows.flow", pk=brand.get("flow_recovery"))
    if flow is None:
        raise HttpError(400, {"non_field_errors": ["No recovery flow set."]})
    return JSONResponse({"link": f"{call.origin}/if/flow/{flow['slug']}/?flow_token=double-{user['uuid']}"})


def users_me(call: Call) -> Response:
    return JSONResponse({"user": show_user(call, call.caller())})


def groups_list(call: Call) -> Response:
    filters = {**by_field("name"), "is_superuser": USER_FILTERS["is_active"]}
    return listing(call, call.rows.all("authentik_core.group"), filters, show_group)


def groups_create(call: Call) -> Response:
    row = importer.save(call.rows, "authentik_core.group", read_json(call), None)
    return JSONResponse(show_group(call, row), 201)


def groups_member(call: Call, add: bool) -> Response:
    group, data = the(call, "authentik_core.group"), read_json(call, {"pk"})
    user = call.rows.find("authentik_core.user", pk=data.get("pk"))
    if user is None:
        raise HttpError(404, "User not found")
    others = [key for key in user["groups"] if key != group["pk"]]
    user["groups"] = [*others, group["pk"]] if add else others
    return Response(status_code=204)


def lists(model: str, *filters: str, show: Callable[[Call, Row], Row] = show_plain) -> Handler:
    return lambda call: listing(call, call.rows.all(model), by_field(*filters), show)


def shows(model: str, show: Callable[[Call, Row], Row] = show_plain, field: str = "pk") -> Handler:
    return lambda call: JSONResponse(show(call, the(call, model, field)))


def empty_list(call: Call) -> Response:
    return _page(call, [])


def blueprints_apply(call: Call) -> Response:
    """Only enqueues, as the real one: the worker picks instances without a hash up."""
    row = the(call, "authentik_blueprints.blueprintinstance")
    if row["path"].startswith("custom/"):
        row["_apply"] = True
    return JSONResponse(public(row))


def blueprints_change(call: Call) -> Response:
    """The path must be repeated: it is checked, or else the content is asked for."""
    row, data = the(call, "authentik_blueprints.blueprintinstance"), read_json(call, {"enabled", "path"})
    if not data.get("path"):
        raise HttpError(400, {"non_field_errors": ["Either path or content must be set."]})
    if data["path"] != row["path"]:
        raise HttpError(400, {"path": ["Blueprint file does not exist"]})
    row["enabled"] = data.get("enabled", row["enabled"])
    return JSONResponse(public(row))


def version_history(call: Call) -> Response:
    """A plain list, without pages."""
    return JSONResponse([{"id": 1, "timestamp": "2026-01-01T00:00:00Z", "version": VERSION, "build": ""}])


def unfinished_tasks(call: Call) -> Response:
    if call.query.keys() - {"actor_name", "aggregated_status", "page_size"}:
        raise UnknownToDouble(f"query parameters {sorted(call.query)}")
    return empty_list(call)


def own_outpost(call: Call, user: Row) -> Row | None:
    return next(
        (
            row
            for row in call.rows.all("authentik_outposts.outpost")
            if user["username"].endswith(row["pk"].replace("-", ""))
        ),
        None,
    )


def outposts_list(call: Call) -> Response:
    own, rows = own_outpost(call, call.caller()), call.rows.all("authentik_outposts.outpost")
    if own is not None:
        rows = [own]
        _mark_seen(call, own)
    return listing(call, rows, by_field("name__iexact", "name", "managed__iexact", "type"), show_outpost)


def _mark_seen(call: Call, outpost: Row) -> None:
    # The real outpost holds a websocket open; the double's outpost asks for itself every few seconds.
    agent = call.header("User-Agent").rpartition("/")[2]
    outpost["_seen"] = {"at": time.time(), "version": agent, "hostname": call.header("X-Double-Hostname")}


def outposts_health(call: Call) -> Response:
    outpost = the(call, "authentik_outposts.outpost")
    seen = outpost.get("_seen")
    if outpost.get("managed"):
        seen = {"at": time.time(), "version": VERSION, "hostname": "embedded"}
    if not seen or time.time() - seen["at"] > 20:
        return JSONResponse([])
    moment = datetime.fromtimestamp(seen["at"], UTC).isoformat()
    state = {"uid": outpost["pk"], "last_seen": moment, "version": seen["version"], "hostname": seen["hostname"]}
    return JSONResponse([{**state, "version_should": VERSION, "version_outdated": seen["version"] != VERSION}])


def ldap_list(call: Call) -> Response:
    def show(call: Call, row: Row) -> Row:
        flow = {flow["pk"]: flow["slug"] for flow in call.rows.all("authentik_flows.flow")}
        application = call.rows.find("authentik_core.application", provider=row["pk"]) or {}
        basic = {"base_dn": "DC=ldap,DC=goauthentik,DC=io", "mfa_support": True, "search_mode": "direct"}
        slugs = {"bind_flow_slug": flow[row["authorization_flow"]], "unbind_flow_slug": flow[row["invalidation_flow"]]}
        return {**basic, **public(row), **slugs, "application_slug": application["slug"]}

    own = own_outpost(call, call.caller())
    rows = [row for row in call.rows.all("authentik_providers_ldap.") if own is None or row["pk"] in own["providers"]]
    served = [row for row in rows if call.rows.find("authentik_core.application", provider=row["pk"])]
    return listing(call, served, by_field("name"), show)


def ldap_access(call: Call) -> Response:
    provider = the(call, "authentik_providers_ldap.ldapprovider")
    application = call.rows.find("authentik_core.application", slug=call.query.get("app_slug"), provider=provider["pk"])
    if application is None:
        raise HttpError(404, "No Application matches the given query.")
    user = call.caller()
    search = accounts.has_permission(call.rows, user, "authentik_providers_ldap.search_full_directory", provider)
    passing = accounts.may_open(call.rows, user, application)
    return JSONResponse({"access": {"passing": passing, "messages": []}, "has_search_permission": search})


def token_view(call: Call) -> Response:
    return JSONResponse({"key": the(call, "authentik_core.token", "identifier")["key"]})


def token_set(call: Call) -> Response:
    token, data = the(call, "authentik_core.token", "identifier"), read_json(call, {"key"})
    token["key"] = data.get("key") or token["key"]
    return Response(status_code=204)


def token_delete(call: Call) -> Response:
    call.rows.delete(the(call, "authentik_core.token", "identifier")["pk"])
    return Response(status_code=204)


def show_token(call: Call, row: Row) -> Row:
    return {name: value for name, value in public(row).items() if name != "key"}


def version(call: Call) -> Response:
    facts = {"version_latest": VERSION, "version_latest_valid": True, "build_hash": "double", "outdated": False}
    return JSONResponse({"version_current": VERSION, **facts, "outpost_outdated": False})


def executor(call: Call) -> Response:
    slug = call.request.path_params["key"]
    session = call.session() or call.new_session()
    if call.request.method == "POST":
        return _executor_step(call, slug, session, read_json(call))
    stage_models(call.rows, slug)
    if session.get("user"):
        return JSONResponse({"component": "xak-flow-redirect", "to": "/"})
    component = "ak-stage-password" if session.get("pending") else "ak-stage-identification"
    errors = {"password": [{"string": "Invalid password", "code": "invalid"}]} if session.pop("failed", False) else {}
    return JSONResponse({"component": component, "response_errors": errors, "pending_user": session.get("pending")})


def _executor_step(call: Call, slug: str, session: Row, data: Row) -> Response:
    if data.get("uid_field"):
        session["pending"] = data["uid_field"]
    if data.get("password") and session.get("pending"):
        user = log_in(call, slug, session["pending"], data["password"])
        if user is None:
            session["failed"] = True
        elif not call.cookies:
            return JSONResponse({"component": "xak-flow-redirect", "to": "/"})
    return RedirectResponse(str(call.request.url.path), 302)


LISTS = {
    "authentik_brands.brand": "core/brands",
    "authentik_crypto.certificatekeypair": "crypto/certificatekeypairs",
    "authentik_flows.flow": "flows/instances",
    "authentik_flows.flowstagebinding": "flows/bindings",
    "authentik_policies.policybinding": "policies/bindings",
    "authentik_policies_expression.expressionpolicy": "policies/expression",
    "authentik_policies_password.passwordpolicy": "policies/password",
    "authentik_providers_ldap.ldapprovider": "providers/ldap",
    "authentik_providers_oauth2.oauth2provider": "providers/oauth2",
    "authentik_providers_oauth2.scopemapping": "propertymappings/provider/scope",
    "authentik_providers_proxy.proxyprovider": "providers/proxy",
    "authentik_rbac.role": "rbac/roles",
    "authentik_stages_authenticator_static.authenticatorstaticstage": "stages/authenticator/static",
    "authentik_stages_authenticator_totp.authenticatortotpstage": "stages/authenticator/totp",
    "authentik_stages_authenticator_validate.authenticatorvalidatestage": "stages/authenticator/validate",
    "authentik_stages_authenticator_webauthn.authenticatorwebauthnstage": "stages/authenticator/webauthn",
    "authentik_stages_deny.denystage": "stages/deny",
    "authentik_stages_email.emailstage": "stages/email",
    "authentik_stages_identification.identificationstage": "stages/identification",
    "authentik_stages_password.passwordstage": "stages/password",
    "authentik_stages_prompt.prompt": "stages/prompt/prompts",
    "authentik_stages_prompt.promptstage": "stages/prompt/stages",
    "authentik_stages_user_login.userloginstage": "stages/user_login",
    "authentik_stages_user_write.userwritestage": "stages/user_write",
}
# method, path, permission (None: any signed-in caller; "": open), handler
ROUTES: list[tuple[str, str, str | None, Handler]] = [
    ("GET", "/admin/version/", None, version),
    ("GET", "/core/users/", "authentik_core.view_user", users_list),
    ("POST", "/core/users/", "authentik_core.add_user", users_create),
    ("GET", "/core/users/me/", None, users_me),
    ("GET", "/core/users/{key:int}/", "authentik_core.view_user", shows("authentik_core.user", show_user)),
    ("PATCH", "/core/users/{key:int}/", "authentik_core.change_user", users_change),
    ("DELETE", "/core/users/{key:int}/", "authentik_core.delete_user", users_delete),
    ("POST", "/core/users/{key:int}/set_password/", "authentik_core.reset_user_password", users_password),
    ("POST", "/core/users/{key:int}/recovery/", "authentik_core.reset_user_password", users_recovery),
    (
        "PATCH",
        "/rbac/permissions/assigned_by_roles/{key}/unassign/",
        "authentik_rbac.unassign_role_permissions",
        role_unassign,
    ),
    ("GET", "/core/groups/", "authentik_core.view_group", groups_list),
    ("POST", "/core/groups/", "authentik_core.add_group", groups_create),
    ("GET", "/core/groups/{key}/", "authentik_core.view_group", shows("authentik_core.group", show_group)),
    (
        "POST",
        "/core/groups/{key}/add_user/",
        "authentik_core.add_user_to_group",
        lambda call: groups_member(call, True),
    ),
    (
        "POST",
        "/core/groups/{key}/remove_user/",
        "authentik_core.remove_user_from_group",
        lambda call: groups_member(call, False),
    ),
    (
        "GET",
        "/core/applications/",
        "authentik_core.view_application",
        lists("authentik_core.application", "slug", "name"),
    ),
    (
        "GET",
        "/core/applications/{key}/",
        "authentik_core.view_application",
        shows("authentik_core.application", field="slug"),
    ),
    (
        "GET",
        "/core/tokens/",
        "authentik_core.view_token",
        lists("authentik_core.token", "identifier", "expiring", show=show_token),
    ),
    ("DELETE", "/core/tokens/{key}/", "authentik_core.delete_token", token_delete),
    ("GET", "/core/tokens/{key}/view_key/", "authentik_core.view_token_key", token_view),
    ("POST", "/core/tokens/{key}/set_key/", "authentik_core.set_token_key", token_set),
    (
        "GET",
        "/managed/blueprints/",
        "authentik_blueprints.view_blueprintinstance",
        lists("authentik_blueprints.blueprintinstance", "name", "path"),
    ),
    ("POST", "/managed/blueprints/{key}/apply/", "authentik_blueprints.change_blueprintinstance", blueprints_apply),
    ("GET", "/outposts/instances/", "authentik_outposts.view_outpost", outposts_list),
    ("GET", "/outposts/instances/{key}/health/", "authentik_outposts.view_outpost", outposts_health),
    ("GET", "/outposts/ldap/", "authentik_providers_ldap.view_ldapprovider", ldap_list),
    ("GET", "/outposts/ldap/{key}/check_access/", None, ldap_access),
    ("PATCH", "/managed/blueprints/{key}/", "authentik_blueprints.change_blueprintinstance", blueprints_change),
    ("GET", "/admin/version/history/", None, version_history),
    *(
        ("GET", f"/{path}/", f"{model.split('.')[0]}.view_{model.split('.')[1]}", lists(model, "name"))
        for model, path in LISTS.items()
    ),
    ("GET", "/events/events/", "authentik_events.view_event", empty_list),
    ("GET", "/tasks/tasks/", "authentik_tasks.view_task", unfinished_tasks),
    ("GET", "/flows/executor/{key}/", "", executor),
    ("POST", "/flows/executor/{key}/", "", executor),
]


def authorize(call: Call, permission: str | None) -> None:
    if permission == "":
        return
    caller = call.caller()
    if permission is None or accounts.has_permission(call.rows, caller, permission):
        return
    if permission in OUTPOST_MAY and caller["type"] == "internal_service_account" and own_outpost(call, caller):
        return
    raise HttpError(403, "You do not have permission to perform this action.")


def guarded(permission: str | None, handler: Handler) -> Handler:
    def run(call: Call) -> Response:
        authorize(call, permission)
        return handler(call)

    return run


def routes() -> list[tuple[str, str, Handler]]:
    return [(method, "/api/v3" + path, guarded(permission, handler)) for method, path, permission, handler in ROUTES]
