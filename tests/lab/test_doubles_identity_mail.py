"""The doubles of Authentik and Stalwart refuse what the real programs refuse."""

import gc
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

IMAGES = Path(__file__).parent / "images"
for folder in ("authentik", "authentik-ldap", "stalwart"):
    sys.path.append(str(IMAGES / folder))

from authentik_double import app, defaults, discovery, importer, settings  # type: ignore[import-not-found]  # noqa: E402
from authentik_double.store import MemoryStore  # type: ignore[import-not-found]  # noqa: E402
from authentik_double.tags import BlueprintInvalid  # type: ignore[import-not-found]  # noqa: E402
from ldap_double.directory import Bound, Directory, Refused  # type: ignore[import-not-found]  # noqa: E402
from stalwart_double import defaults as first_rows  # type: ignore[import-not-found]  # noqa: E402
from stalwart_double.__main__ import ConfigError, read_config  # type: ignore[import-not-found]  # noqa: E402
from stalwart_double.mail import recipient_answer  # type: ignore[import-not-found]  # noqa: E402
from stalwart_double.server import Service, application  # type: ignore[import-not-found]  # noqa: E402
from stalwart_double.store import MemoryStore as Registry  # type: ignore[import-not-found]  # noqa: E402

with warnings.catch_warnings():  # it would prefer httpx2
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

ENVIRONMENT = {
    "AUTHENTIK_SECRET_KEY": "s" * 60,
    "AUTHENTIK_POSTGRESQL__PASSWORD": "p",
    "AUTHENTIK_BOOTSTRAP_PASSWORD": "first-password",
    "AUTHENTIK_BOOTSTRAP_TOKEN": "bootstrap-token",
}
BEARER = {"Authorization": "Bearer bootstrap-token"}
HEAD = "version: 1\nmetadata: {name: test}\nentries:\n"
FLOWS = """
      authorization_flow: !Find [authentik_flows.flow, [slug, default-provider-authorization-implicit-consent]]
      invalidation_flow: !Find [authentik_flows.flow, [slug, default-provider-invalidation-flow]]
"""
LOGS = (
    HEAD
    + f"""
  - model: authentik_core.group
    id: readers
    identifiers: {{name: log-readers}}
  - model: authentik_core.user
    identifiers: {{username: anna}}
    state: created
    attrs: {{name: Anna Aerger, email: anna@acme.example, password: geheim-1, groups: [!KeyOf readers]}}
  - model: authentik_providers_proxy.proxyprovider
    id: provider
    identifiers: {{name: logs}}
    attrs:
      mode: forward_single
      external_host: https://logs.acme.example
{FLOWS}
  - model: authentik_core.application
    id: logs
    identifiers: {{slug: logs}}
    attrs: {{name: Logs, provider: !KeyOf provider}}
  - model: authentik_policies.policybinding
    identifiers: {{target: !KeyOf logs, order: 0}}
    attrs: {{group: !KeyOf readers}}
  - model: authentik_outposts.outpost
    identifiers: {{managed: goauthentik.io/outposts/embedded}}
    attrs:
      name: authentik Embedded Outpost
      type: proxy
      providers: [!KeyOf provider]
      config: {{authentik_host: "https://auth.acme.example"}}
"""
)
CLOUD = (
    HEAD
    + f"""
  - model: authentik_providers_oauth2.oauth2provider
    id: provider
    identifiers: {{name: cloud}}
    attrs:
      client_type: confidential
      grant_types: [authorization_code, refresh_token]
      client_id: cloud
      client_secret: cloud-secret
      sub_mode: user_username
{FLOWS}
      signing_key: !Find [authentik_crypto.certificatekeypair, [name, authentik Self-signed Certificate]]
      redirect_uris: [{{matching_mode: strict, url: "https://cloud.acme.example/code"}}]
      property_mappings:
        - !Find [authentik_providers_oauth2.scopemapping, [managed, goauthentik.io/providers/oauth2/scope-openid]]
        - !Find [authentik_providers_oauth2.scopemapping, [managed, goauthentik.io/providers/oauth2/scope-profile]]
  - model: authentik_core.application
    identifiers: {{slug: cloud}}
    attrs: {{name: Cloud, provider: !KeyOf provider}}
"""
)
LDAP = (
    HEAD
    + """
  - {model: authentik_rbac.role, id: r, identifiers: {name: ldap-search}}
  - model: authentik_core.user
    id: bind
    identifiers: {username: ldapservice}
    attrs: {name: LDAP bind, type: service_account, path: goauthentik.io/service-accounts, roles: [!KeyOf r]}
  - model: authentik_core.token
    identifiers: {identifier: ldapservice-bind}
    attrs: {user: !KeyOf bind, intent: app_password, expiring: false, key: bind-secret}
  - model: authentik_providers_ldap.ldapprovider
    id: p
    identifiers: {name: ldap}
    attrs:
      base_dn: DC=acme,DC=example
      mfa_support: false
      authorization_flow: !Find [authentik_flows.flow, [slug, default-authentication-flow]]
      invalidation_flow: !Find [authentik_flows.flow, [slug, default-invalidation-flow]]
    permissions:
      - {permission: authentik_providers_ldap.search_full_directory, role: !KeyOf r}
  - {model: authentik_core.application, identifiers: {slug: ldap}, attrs: {name: LDAP, provider: !KeyOf p}}
  - model: authentik_outposts.outpost
    id: o
    identifiers: {name: ldap}
    attrs: {type: ldap, providers: [!KeyOf p], config: {authentik_host: "http://authentik-server:9000"}}
  - model: authentik_core.token
    identifiers: {identifier: !Format ["ak-outpost-%s-api", !KeyOf o]}
    attrs:
      user: !AtIndex [!FindObject [authentik_core.token, [identifier, !Format ["ak-outpost-%s-api", !KeyOf o]]], user]
      intent: api
      expiring: false
      key: ldap-token
"""
)


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    with made.transaction() as rows:
        defaults.install(rows, settings.load(ENVIRONMENT))
    return made


@pytest.fixture
def client(store: MemoryStore) -> Iterator[TestClient]:
    program = app.server(store, settings.load(ENVIRONMENT))
    with TestClient(program, "http://authentik-server:9000", follow_redirects=False, client=("10.1.1.1", 5)) as made:
        yield made


def apply(store: MemoryStore, *texts: str) -> None:
    for text in texts:
        with store.transaction() as rows:
            importer.apply(rows, text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"AUTHENTIK_SECRET_KEY": ""}, "missing"),
        ({"AUTHENTIK_POSTGRESQL__PASSWORD_FILE": "/x"}, "_FILE"),
        ({"AUTHENTIK_REDIS__HOST": "valkey"}, "unknown setting"),
        ({"AUTHENTIK_BOOTSTRAP_PASSWORD_HASH": "argon2$x"}, "exclude"),
        ({"AUTHENTIK_BOOTSTRAP_TOKEN": "file:///run/secrets/x"}, "bootstrap"),
        ({"AUTHENTIK_SECRET_KEY": "file:///does/not/exist"}, "cannot be read"),
        ({"AUTHENTIK_WEB__BASE_URL": "https://auth.acme.example/"}, "host only"),
    ],
)
def test_wrong_environment_is_refused(change: dict[str, str], reason: str) -> None:
    with pytest.raises(settings.SettingsError, match=reason):
        settings.load({**ENVIRONMENT, **change})


def test_values_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    loaded = settings.load({**ENVIRONMENT, "AUTHENTIK_SECRET_KEY": f"file://{tmp_path}/key"})
    assert loaded.get("SECRET_KEY") == "from-file"


def test_bootstrap_happens_once(store: MemoryStore, client: TestClient) -> None:
    with store.transaction() as rows:
        defaults.install(rows, settings.load({**ENVIRONMENT, "AUTHENTIK_BOOTSTRAP_TOKEN": "another"}))
    assert client.get("/api/v3/admin/version/", headers=BEARER).status_code == 200
    assert client.get("/api/v3/admin/version/", headers={"Authorization": "Bearer another"}).status_code == 403
    assert client.get("/if/flow/initial-setup/").status_code == 404


def test_without_bootstrap_the_setup_flow_is_open() -> None:
    bare = settings.load({key: value for key, value in ENVIRONMENT.items() if "BOOTSTRAP" not in key})
    empty = MemoryStore()
    with empty.transaction() as rows:
        defaults.install(rows, bare)
    with TestClient(app.server(empty, bare)) as client:
        assert client.get("/if/flow/initial-setup/").status_code == 200


def test_good_blueprints_apply_twice(store: MemoryStore) -> None:
    apply(store, LOGS, CLOUD, LDAP)
    with store.transaction() as rows:
        before = {model: len(members) for model, members in rows.models.items()}
    apply(store, LOGS, CLOUD, LDAP)
    with store.transaction() as rows:
        assert {model: len(members) for model, members in rows.models.items()} == before


GROUP = "  - {model: authentik_core.group, identifiers: {name: x}, attrs: %s}\n"
TOKEN = "  - {model: authentik_core.token, identifiers: {identifier: x}, attrs: {user: 1, intent: api%s}}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEAD + GROUP % "{is_superuser_group: true}", "unknown attribute"),
        (HEAD + GROUP % "{is_superuser: maybe}", "not of type"),
        (HEAD + GROUP % "{parents: [!Find [authentik_core.group, [name, nobody]]]}", "not found"),
        (HEAD + GROUP % "{attributes: {a: !File /does/not/exist}}", "not found"),
        (HEAD + GROUP % "{parents: [!KeyOf later]}", "no earlier entry"),
        (HEAD + GROUP % "{parents: [11111111-1111-4111-8111-111111111111]}", "does not exist"),
        (HEAD + "  - {model: authentik_core.groups, identifiers: {name: x}}\n", "no such model"),
        (HEAD + "  - {model: authentik_core.user, identifiers: {username: x}}\n", "required"),
        (HEAD + TOKEN % "", "expiring"),
        (CLOUD.replace("grant_types: [authorization_code, refresh_token]", "grant_types: []"), "grant_types"),
        (CLOUD.replace("client_type: confidential", "token_validity: hours=1"), "token_validity"),
        (LDAP.replace("permission: authentik_providers_ldap.", "permission: "), "app_label"),
        (LOGS.replace("mode: forward_single", "mode: proxy"), "internal_host"),
        (LOGS.replace("name: authentik Embedded Outpost", "name: mine"), "Embedded"),
        ("version: 1\nentries: []\n", "name"),
    ],
)
def test_bad_blueprints_are_refused_and_leave_nothing(store: MemoryStore, text: str, reason: str) -> None:
    with pytest.raises(BlueprintInvalid, match=reason):
        apply(store, text)
    with store.transaction() as rows:
        assert rows.find("authentik_core.group", name="x") is None


def test_conditional_tags(store: MemoryStore) -> None:
    text = HEAD.replace("entries", "context: {big: true}\nentries") + GROUP % (
        "{attributes: {size: !If [!Context big, large, small], seq: !Enumerate [[a, b], SEQ, "
        "!Format ['%s%s', !Index 0, !Value 0]], "
        "either: !Condition [OR, !Find [authentik_core.group, [name, no]], !Context big]}}"
    )
    apply(store, text)
    with store.transaction() as rows:
        group = rows.find("authentik_core.group", name="x")
    assert group and group["attributes"] == {"size": "large", "seq": ["0a", "1b"], "either": True}


def test_absent_and_must_created(store: MemoryStore) -> None:
    apply(store, LOGS)
    with pytest.raises(BlueprintInvalid, match="must_created"):
        apply(
            store, HEAD + "  - {model: authentik_core.group, state: must_created, identifiers: {name: log-readers}}\n"
        )
    apply(store, HEAD + "  - {model: authentik_core.group, state: absent, identifiers: {name: log-readers}}\n")
    with store.transaction() as rows:
        assert rows.all("authentik_policies.policybinding") == []


def test_discovery_keeps_the_status_and_honours_the_label(store: MemoryStore, tmp_path: Path) -> None:
    custom = tmp_path / "custom"
    custom.mkdir()
    (custom / "good.yaml").write_text(LOGS)
    (custom / "bad.yaml").write_text(HEAD.replace("test", "bad") + GROUP % "{nonsense: 1}")
    (custom / "manual.yaml").write_text(
        HEAD.replace("{name: test}", '{name: manual, labels: {blueprints.goauthentik.io/instantiate: "false"}}')
        + GROUP % "{}"
    )
    (custom / "ignored.yml").write_text("nonsense")
    discovery.discover(store, tmp_path)
    with store.transaction() as rows:
        found = {
            row["path"]: row["status"] for row in rows.all(discovery.INSTANCE) if row["path"].startswith("custom/")
        }
    assert found == {"custom/good.yaml": "successful", "custom/bad.yaml": "error", "custom/manual.yaml": "unknown"}


def forwarded(host: str) -> dict[str, str]:
    return {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-Uri": "/live?x=1"}


def log_in(client: TestClient, username: str, password: str) -> str:
    form = {"uid_field": username, "password": password}
    answer = client.post(
        "/if/flow/default-authentication-flow/?next=/", data=form, headers=forwarded("auth.acme.example")
    )
    found = re.search(r"authentik_session=([^;]+)", answer.headers.get("set-cookie", ""))
    return found[1] if found else ""


def test_forward_auth_from_404_over_302_to_200(store: MemoryStore, client: TestClient) -> None:
    path = "/outpost.goauthentik.io/auth/caddy"
    assert client.get(path, headers=forwarded("logs.acme.example")).status_code == 404
    apply(store, LOGS)
    assert client.get(path, headers=forwarded("cloud.acme.example")).status_code == 404
    sent = client.get(path, headers=forwarded("logs.acme.example"))
    assert sent.status_code == 302 and sent.headers["location"].startswith(
        "https://auth.acme.example/application/o/authorize/?"
    )
    cookie = {"Cookie": f"authentik_session={log_in(client, 'anna', 'geheim-1')}"}
    to_authorize = sent.headers["location"].removeprefix("https://auth.acme.example")
    back = client.get(to_authorize, headers={**forwarded("auth.acme.example"), **cookie})
    assert back.headers["location"].startswith("https://logs.acme.example/outpost.goauthentik.io/callback?")
    to_callback = back.headers["location"].removeprefix("https://logs.acme.example")
    done = client.get(to_callback, headers=forwarded("logs.acme.example"))
    assert done.headers["location"] == "https://logs.acme.example/live?x=1"
    cookie = {"Cookie": done.headers["set-cookie"].split(";")[0]}
    passed = client.get(path, headers={**forwarded("logs.acme.example"), **cookie})
    assert (passed.status_code, passed.headers["X-Authentik-Username"]) == (200, "anna")
    assert passed.headers["X-Authentik-Groups"] == "log-readers"


def test_a_person_without_the_group_is_refused(store: MemoryStore, client: TestClient) -> None:
    apply(store, LOGS)
    cookie = {"Cookie": f"authentik_session={log_in(client, 'akadmin', 'first-password')}"}
    sent = client.get("/outpost.goauthentik.io/auth/caddy", headers=forwarded("logs.acme.example"))
    to_authorize = sent.headers["location"].removeprefix("https://auth.acme.example")
    assert client.get(to_authorize, headers={**forwarded("auth.acme.example"), **cookie}).status_code == 403


def test_forwarded_headers_of_strangers_do_not_count(store: MemoryStore) -> None:
    apply(store, CLOUD)
    program = app.server(store, settings.load(ENVIRONMENT))
    with TestClient(program, "http://authentik-server:9000", client=("203.0.113.9", 5)) as stranger:
        path = "/application/o/cloud/.well-known/openid-configuration"
        found = stranger.get(path, headers=forwarded("auth.acme.example")).json()
    assert found["issuer"] == "http://authentik-server:9000/application/o/cloud/"


def test_oidc_code_flow(store: MemoryStore, client: TestClient) -> None:
    import jwt

    apply(store, CLOUD, LOGS)
    public = forwarded("auth.acme.example")
    found = client.get("/application/o/cloud/.well-known/openid-configuration", headers=public).json()
    assert found["issuer"] == "https://auth.acme.example/application/o/cloud/"
    query = {"client_id": "cloud", "redirect_uri": "https://cloud.acme.example/code", "response_type": "code"}
    query |= {"scope": "openid profile", "state": "s", "nonce": "n"}
    assert client.get("/application/o/authorize/", params={**query, "redirect_uri": "https://evil/"}).status_code == 400
    cookie = {"Cookie": f"authentik_session={log_in(client, 'anna', 'geheim-1')}"}
    back = client.get("/application/o/authorize/", params=query, headers={**public, **cookie})
    code = re.search(r"code=([^&]+)", back.headers["location"])
    assert code
    form = {"grant_type": "authorization_code", "code": code[1], "redirect_uri": query["redirect_uri"]}
    assert client.post("/application/o/token/", data=form, auth=("cloud", "wrong")).status_code == 401
    tokens = client.post("/application/o/token/", data=form, auth=("cloud", "cloud-secret"), headers=public).json()
    keys = jwt.PyJWKSet.from_dict(client.get("/application/o/cloud/jwks/").json())
    claims = jwt.decode(tokens["id_token"], keys.keys[0], ["RS256"], audience="cloud")
    assert (claims["sub"], claims["nonce"], claims["groups"]) == ("anna", "n", ["log-readers"])
    info = client.get("/application/o/userinfo/", headers={"Authorization": f"Bearer {tokens['access_token']}"}).json()
    assert info["preferred_username"] == "anna"


def test_api_statuses(store: MemoryStore, client: TestClient) -> None:
    assert client.get("/api/v3/core/users/").status_code == 403
    assert client.get("/api/v3/core/users/", headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert client.get("/api/v3/core/nothing/", headers=BEARER).status_code == 404
    assert client.put("/api/v3/core/users/", headers=BEARER).status_code == 405
    assert client.get("/api/v3/core/users/?nonsense=1", headers=BEARER).status_code == 501
    assert client.post("/api/v3/core/users/", headers=BEARER, json={"username": "x"}).status_code == 400
    assert client.get("/-/health/ready/").status_code == 200


def test_api_creates_disables_and_finds_people(store: MemoryStore, client: TestClient) -> None:
    apply(store, LOGS)
    made = client.post("/api/v3/core/users/", headers=BEARER, json={"username": "bert", "name": "Bert"})
    key = made.json()["pk"]
    assert made.status_code == 201
    assert (
        client.post(f"/api/v3/core/users/{key}/set_password/", headers=BEARER, json={"password": "y"}).status_code
        == 204
    )
    assert log_in(client, "bert", "y")
    assert (
        client.patch(f"/api/v3/core/users/{key}/", headers=BEARER, json={"is_active": False}).json()["is_active"]
        is False
    )
    assert not log_in(client, "bert", "y")
    found = client.get("/api/v3/core/users/?groups_by_name=log-readers", headers=BEARER).json()
    assert [user["username"] for user in found["results"]] == ["anna"]


def test_the_outpost_sees_itself_and_becomes_healthy(store: MemoryStore, client: TestClient) -> None:
    apply(store, LDAP)
    own = {"Authorization": "Bearer ldap-token", "User-Agent": "goauthentik.io/outpost/2026.8.5"}
    everything = client.get("/api/v3/outposts/instances/?name__iexact=LDAP", headers=BEARER).json()["results"]
    path = f"/api/v3/outposts/instances/{everything[0]['pk']}/health/"
    assert client.get(path, headers=BEARER).json() == []
    seen: list[dict[str, Any]] = client.get("/api/v3/outposts/instances/", headers=own).json()["results"]
    assert [outpost["name"] for outpost in seen] == ["ldap"]
    assert client.get(path, headers=BEARER).json()[0]["version_outdated"] is False
    assert client.get("/api/v3/events/events/", headers=own).status_code == 403


@pytest.fixture
def directory(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Directory:
    """The LDAP outpost, wired to the server double without a network."""
    apply(store, LOGS, LDAP)
    program = app.server(store, settings.load(ENVIRONMENT))

    def client(self: Directory, **headers: str) -> TestClient:
        return TestClient(program, "http://authentik-server:9000/api/v3", headers=headers)

    monkeypatch.setattr(Directory, "client", client)
    made = Directory("http://authentik-server:9000", "ldap-token", insecure=False)
    made.poll()
    return made


def test_ldap_binds_through_the_flow(directory: Directory) -> None:
    base = "DC=acme,DC=example"
    assert directory.bind(f"cn=ldapservice,ou=users,{base}", "bind-secret") == Bound("ldapservice", everything=True)
    assert directory.bind(f"cn=anna,ou=users,{base}", "geheim-1") == Bound("anna", everything=False)
    for name, password in (
        (f"cn=anna,ou=users,{base}", "wrong"),
        ("cn=anna,dc=else", "geheim-1"),
        (f"uid=anna,{base}", "x"),
    ):
        with pytest.raises(Refused):
            directory.bind(name, password)


def test_ldap_shows_people_with_their_groups(directory: Directory) -> None:
    found = dict(directory.entries())["cn=anna,ou=users,DC=acme,DC=example"]
    assert found["memberOf"] == ["cn=log-readers,ou=groups,DC=acme,DC=example"]
    assert "userPassword" not in found and found["uid"] != ["anna"]


@pytest.fixture
def service() -> Service:
    made = Service(Registry(), recovery_admin="admin:recovery")
    with made.store.transaction() as tables:
        first_rows.insert(made.registry(tables))
    made.reload()
    return made


@pytest.fixture
def mail(service: Service) -> Iterator[TestClient]:
    with TestClient(application(service), follow_redirects=False) as made:
        made.auth = ("admin", "recovery")
        yield made


def call(
    client: TestClient, method: str, arguments: dict[str, Any], ids: dict[str, str] | None = None
) -> dict[str, Any]:
    using = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]
    body = {"using": using, "createdIds": ids or {}, "methodCalls": [[method, arguments, "0"]]}
    answer: dict[str, Any] = client.post("/jmap", json=body).json()["methodResponses"][0][1]
    return answer


def domain(client: TestClient, **extra: Any) -> str:
    made = call(client, "x:Domain/set", {"create": {"dom": {"name": "acme.example", **extra}}})
    return str(made["created"]["dom"]["id"])


def test_stalwart_wants_credentials(mail: TestClient) -> None:
    assert mail.get("/healthz/ready").status_code == 200
    assert mail.get("/jmap/session", auth=("admin", "wrong")).status_code == 401
    assert mail.get("/jmap/session").json()["capabilities"]["urn:ietf:params:jmap:core"]["maxObjectsInGet"] == 500


def test_stalwart_looks_up_a_login_code_before_it_refuses_it(mail: TestClient) -> None:
    form = {"grant_type": "authorization_code", "client_id": "kmuctl", "redirect_uri": "kmuctl", "code": "health"}
    answer = mail.post("/auth/token", data=form)
    assert (answer.status_code, answer.json()) == (400, {"error": "access_denied"})
    assert mail.post("/auth/token", data=form | {"grant_type": "password"}).json() == {"error": "invalid_grant"}


def test_stalwart_starts_with_the_documented_listeners(mail: TestClient) -> None:
    listeners = call(mail, "x:NetworkListener/get", {"ids": None})["list"]
    ports = {name: next(iter(row["bind"])) for row in listeners for name in [row["name"]]}
    assert ports == {
        "smtp": "[::]:25",
        "submissions": "[::]:465",
        "imaps": "[::]:993",
        "pop3s": "[::]:995",
        "sieve": "[::]:4190",
        "https": "[::]:443",
        "http": "[::]:8080",
    }
    assert call(mail, "x:Authentication/get", {"ids": None})["list"] == []
    assert call(mail, "x:Authentication/get", {"ids": ["singleton"]})["list"][0]["defaultUserRoleIds"]


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("x:Domain", {"name": "a.example", "aliases": ["b.example"]}, "invalidPatch"),
        ("x:Domain", {"name": "a.example", "colour": "red"}, "invalidProperties"),
        ("x:Domain", {"name": "a.example", "createdAt": "2026-01-01T00:00:00Z"}, "invalidProperties"),
        ("x:Domain", {"name": "a.example", "directoryId": "x"}, "forbidden"),
        ("x:Domain", {}, "validationFailed"),
        ("x:Domain", {"name": ""}, "validationFailed"),
        ("x:Domain", {"name": "a.example", "isEnabled": "yes"}, "invalidPatch"),
        ("x:Account", {"@type": "User", "name": "a", "domainId": "nowhere"}, "invalidForeignKey"),
        ("x:Account", {"@type": "Robot", "name": "a"}, "invalidProperties"),
        ("x:NetworkListener", {"name": "smtp", "bind": {"[::]:2525": True}}, "primaryKeyViolation"),
        ("x:NetworkListener", {"name": "n", "bind": {"25": True}}, "validationFailed"),
        ("x:NetworkListener", {"name": "n", "bind": {"[::]:25": True}, "tlsTimeout": "30s"}, "invalidPatch"),
        ("x:Http", {}, "singleton"),
        ("x:Certificate", {"certificate": {"@type": "File", "filePath": "/no"}}, "validationFailed"),
        (
            "x:MailingList",
            {"name": "l", "domainId": "nowhere", "recipients": {"no address": True}},
            "invalidForeignKey",
        ),
    ],
)
def test_stalwart_refuses_bad_objects(mail: TestClient, name: str, body: dict[str, Any], kind: str) -> None:
    answer = call(mail, f"{name}/set", {"create": {"c": body}})
    assert answer["notCreated"]["c"]["type"] == kind


def test_stalwart_refuses_unknown_methods_and_filters(mail: TestClient) -> None:
    assert call(mail, "x:Nothing/get", {"ids": None})["type"] == "unknownMethod"
    assert call(mail, "x:Account/User/get", {"ids": None})["type"] == "unknownMethod"
    assert call(mail, "x:Domain/query", {"filter": {"colour": "red"}})["type"] == "unsupportedFilter"


def test_stalwart_references_patches_and_links(mail: TestClient) -> None:
    made = domain(mail)
    system = {"defaultHostname": "mail.acme.example", "defaultDomainId": "#dom"}
    answer = call(mail, "x:SystemSettings/set", {"update": {"singleton": system}}, {"dom": made})
    assert "singleton" in answer["updated"]
    again = call(mail, "x:SystemSettings/set", {"update": {"singleton": {"services/imap": {"cleartext": True}}}})
    assert "singleton" in again["updated"]
    listener = call(mail, "x:NetworkListener/query", {"filter": {"name": "smtp"}})["ids"][0]
    renamed = call(mail, "x:NetworkListener/set", {"update": {listener: {"name": "other"}}})
    assert renamed["notUpdated"][listener]["type"] == "invalidProperties"
    assert call(mail, "x:Domain/set", {"destroy": [made]})["notDestroyed"][made]["type"] == "objectIsLinked"


def test_stalwart_makes_dkim_keys_later_and_a_zone_file(mail: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    made = domain(mail)
    assert call(mail, "x:DkimSignature/query", {"filter": {"domainId": made}})["ids"] == []
    monkeypatch.setattr("stalwart_double.registry.DKIM_DELAY", 0)
    keys = call(mail, "x:DkimSignature/get", {"ids": None})["list"]
    assert {row["@type"] for row in keys} == {"Dkim1Ed25519Sha256", "Dkim1RsaSha256"}
    assert {row["privateKey"]["secret"] for row in keys} == {"****"}
    zone = call(mail, "x:Domain/get", {"ids": [made], "properties": ["dnsZoneFile"]})["list"][0]["dnsZoneFile"]
    assert "_domainkey.acme.example. IN TXT" in zone and '_dmarc.acme.example. IN TXT "v=DMARC1; p=reject' in zone


def test_stalwart_secrets_show_once_and_keys_work(mail: TestClient) -> None:
    made = domain(mail)
    body = {"@type": "User", "name": "admin", "domainId": made, "roles": {"@type": "Admin"}}
    account = call(mail, "x:Account/set", {"create": {"a": body}})["created"]["a"]["id"]
    refused = call(mail, "x:ApiKey/set", {"create": {"k": {"description": "kmuctl"}}})
    assert refused["notCreated"]["k"]["type"] == "forbidden"
    key = call(mail, "x:ApiKey/set", {"accountId": account, "create": {"k": {"description": "kmuctl"}}})["created"]["k"]
    shown = call(mail, "x:ApiKey/get", {"accountId": account, "ids": None})["list"][0]
    assert key["secret"].startswith("API_") and shown["secret"] == "****"
    mail.auth = None
    assert mail.get("/jmap/session", headers={"Authorization": f"Bearer {key['secret']}"}).status_code == 200


def test_stalwart_reload_reports_missing_secrets(mail: TestClient) -> None:
    prometheus = {"@type": "Enabled", "authUsername": "m"}
    prometheus["authSecret"] = {"@type": "EnvironmentVariable", "variableName": "KMU_NOT_SET"}  # type: ignore[assignment]
    assert "singleton" in call(mail, "x:Metrics/set", {"update": {"singleton": {"prometheus": prometheus}}})["updated"]
    answer = call(mail, "x:Action/set", {"create": {"r": {"@type": "ReloadSettings"}}})
    assert "KMU_NOT_SET" in answer["notCreated"]["r"]["description"]
    assert mail.get("/metrics/prometheus").status_code == 404


@pytest.mark.parametrize("broken", ['{"@type":"PostgreSql","hots":"x"}', '{"@type":"Sqlite","path":"/x"}', "[]", "{"])
def test_stalwart_config_is_checked(tmp_path: Path, broken: str) -> None:
    (tmp_path / "config.json").write_text(broken)
    with pytest.raises(ConfigError):
        read_config(tmp_path / "config.json")


# ldap3 leaves its socket open when the connection is refused: collected at the end, so that no later test is blamed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_recipients_are_deferred_while_ldap_is_away(service: Service, mail: TestClient) -> None:
    made = domain(mail)
    assert recipient_answer(service, "anna@acme.example", authenticated=False).startswith("550")
    body = {"@type": "Ldap", "description": "d", "url": "ldap://127.0.0.1:1", "baseDn": "dc=acme,dc=example"}
    answer = call(mail, "x:Directory/set", {"create": {"l": body}})
    use = {"directoryId": answer["created"]["l"]["id"]}
    assert "singleton" in call(mail, "x:Authentication/set", {"update": {"singleton": use}})["updated"]
    reload = {"create": {"r": {"@type": "ReloadSettings"}}}
    assert "r" in call(mail, "x:Action/set", reload)["created"]
    assert recipient_answer(service, "anna@acme.example", authenticated=False).startswith("451")
    postmaster = {"name": "postmaster", "domainId": made, "recipients": {"a@acme.example": True}}
    assert "m" in call(mail, "x:MailingList/set", {"create": {"m": postmaster}})["created"]
    assert recipient_answer(service, "postmaster@acme.example", authenticated=False).startswith("451")
    gc.collect()
