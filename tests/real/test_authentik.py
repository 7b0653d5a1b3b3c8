"""Our blueprints in a real Authentik: every attribute, every sign-on, who is refused (tests/real/README.md)."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
import pytest

from kmuctl.model.errors import StepFailed
from kmuctl.model.secrets import Secret
from kmuctl.model.step import Outcome, State, Step, Working
from kmuctl.operations import authentik
from kmuctl.operations.authentik.blueprints import apply_now
from kmuctl.operations.authentik.document import Entry, entries
from kmuctl.operations.authentik.settings import LISTS, differences
from kmuctl.operations.plan import converge
from tests.real.browser import DIRECTORY, PUBLIC, RECOVERY, SIGN_ON, Browser, code_of, one_time_code
from tests.real.conftest import (
    CUSTOM,
    LDAP,
    PASSWORD,
    Person,
    Postbox,
    ask,
    needs,
    needs_ak,
    needs_custom,
    needs_ldap,
    needs_smtp,
    the,
)
from tests.real.host import TOKEN, URL, RealHost
from tests.real.prepare import rendered, site
from tests.rendered.sites import Recognisable, secret_value

pytestmark = [pytest.mark.real, needs(URL, "KMU_REAL_AUTHENTIK")]
BLUEPRINTS = ("10-base", "20-logins", "30-ldap")
HOURS = 3600
NOT_SHOWN = {("authentik_core.token", "key")}


class Known(Recognisable):
    """The secrets of the prepared server."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token

    def __getitem__(self, name: str) -> Secret:
        return Secret(self.token) if name == "authentik_bootstrap_token" else super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        return True


def document(name: str) -> list[Entry]:
    return entries(rendered().files[f"blueprints/{name}.yaml"].content)


@pytest.fixture(scope="module")
def lists() -> dict[str, Any]:
    paths = {model: f"{path}{'&' if '?' in path else '?'}page_size=100" for model, path in LISTS.items()}
    return {model: ask(path)["results"] for model, path in paths.items()}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_value_took_effect(name: str, lists: dict[str, Any]) -> None:
    """K35, K36, K37, K38, K39, K106, U33: what Authentik says of each object is what the blueprint says."""
    assert list(differences(document(name), lists, Known())) == []


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_no_attribute_is_one_that_authentik_ignores(name: str, lists: dict[str, Any]) -> None:
    """It drops unknown ones without a word: each must come back."""
    shown = {model: set().union(*(row.keys() for row in rows)) for model, rows in lists.items()}
    ours = [entry for entry in document(name) if entry.model in LISTS and entry.state == "present"]
    assert {(entry.model, key) for entry in ours for key in entry.attrs if key not in shown[entry.model]} <= NOT_SHOWN


def steps(token: str = TOKEN) -> list[Step]:
    """Those of `up`, without the containers that they come after."""
    wiring = authentik.wiring(site(), Known(token), rendered())  # type: ignore[arg-type]
    own = {step.name: step for step in wiring}
    return [replace(step, after=tuple(name for name in step.after if name in own)) for step in own.values()]


def bring(host: RealHost, token: str = TOKEN) -> dict[str, Outcome]:
    told = converge(steps(token), host)  # type: ignore[arg-type]
    return {event.step.name: event for event in told if not isinstance(event, Working)}


@needs_ak
@needs_ldap
def test_a_second_up_changes_nothing() -> None:
    """K56: it reports no change, and sends no request that could be one."""
    bring(RealHost())
    host = RealHost()
    assert {name: (outcome.state, outcome.cause) for name, outcome in bring(host).items()} == {
        step.name: (State.OK, "") for step in steps()
    }
    assert host.sent == []


@needs_ak
def test_a_hand_made_change_is_put_right() -> None:
    """Seen by its value: neither status nor digest of the blueprint show it."""
    provider = the("providers/oauth2/?name=nextcloud")
    elsewhere = [{"matching_mode": "strict", "url": "https://elsewhere.example/"}]
    ask(f"providers/oauth2/{provider['pk']}/", "PATCH", json={"redirect_uris": elsewhere})
    host = RealHost()
    outcome = bring(host)["authentik:settings"]
    assert (outcome.state, outcome.cause) == (State.CHANGE, "oauth2provider `nextcloud` has another `redirect_uris`")
    assert host.sent == ["ak apply_blueprint custom/20-logins.yaml"]
    assert the("providers/oauth2/?name=nextcloud")["redirect_uris"] == provider["redirect_uris"]


BROKEN = """version: 1
metadata: {name: kmu-broken, labels: {blueprints.goauthentik.io/instantiate: "false"}}
entries:
  - model: authentik_core.token
    identifiers: {identifier: kmu-broken}
    attrs: {key: s3cret, intent: nonsense, user: !Find [authentik_core.user, [username, akadmin]]}
"""


@needs_ak
@needs_custom
def test_a_refused_blueprint_names_its_entry() -> None:
    """K35: which, and why; not the values that stand in it."""
    path = Path(CUSTOM, "99-broken.yaml")
    path.write_text(BROKEN, encoding="utf-8")
    try:
        with pytest.raises(StepFailed) as refused:
            apply_now(RealHost(), "99-broken")  # type: ignore[arg-type]
    finally:
        path.unlink()
    said = refused.value.message
    assert "authentik_core.token {'identifier': 'kmu-broken'}: intent: " in said
    assert "s3cret" not in said


def test_a_wrong_token_says_so() -> None:
    """The secrets file and Authentik do not belong together."""
    outcomes = bring(RealHost(), "wrong")
    assert outcomes["authentik:defaults"].cause == "Authentik refuses `AUTHENTIK_BOOTSTRAP_TOKEN`"
    assert {outcome.state for outcome in outcomes.values()} == {State.FAILED, State.BLOCKED}


REDIRECTS = {
    "nextcloud": ("https://cloud.kmu.test/apps/user_oidc/code", "openid email nextcloud"),
    "synapse": ("https://matrix.kmu.test/_synapse/client/oidc/callback", "openid email profile"),
}


def authorize(client: str, redirect: str = "") -> str:
    address, scopes = REDIRECTS[client]
    query = {"client_id": client, "redirect_uri": redirect or address, "response_type": "code", "scope": scopes}
    return f"/application/o/authorize/?{urlencode({**query, 'state': 's', 'nonce': 'n'})}"


def tokens(client: str, code: str) -> Any:
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECTS[client][0]}
    sign_in = base64.b64encode(f"{client}:{secret_value(f'{client}_oidc_secret')}".encode()).decode()
    answer = httpx.post(
        f"{URL}/application/o/token/", data=body, timeout=60,
        headers={"Authorization": f"Basic {sign_in}", "Host": PUBLIC, "X-Forwarded-Proto": "https"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.json()


def claims(client: str, person: Person) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the token, its signature verified; and of userinfo."""
    end, _ = Browser().open(authorize(client), person.username, person.password)
    assert end.startswith(REDIRECTS[client][0]), end
    given = tokens(client, code_of(end))
    [key] = httpx.get(f"{URL}/application/o/{client}/jwks/", timeout=60).json()["keys"]
    token = jwt.decode(
        given["id_token"], jwt.PyJWK(key), algorithms=["RS256"], audience=client,
        issuer=f"https://{PUBLIC}/application/o/{client}/",
    )  # fmt: skip
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    return token, httpx.get(f"{URL}/application/o/userinfo/", headers=bearer, timeout=60).json()


def test_a_person_signs_in_to_nextcloud(people: Any) -> None:
    """K37, K106, L9, U24: name, groups and quota as Nextcloud reads them; only groups of ours."""
    person = people("kmu-users", nextcloud_quota="20 GB")
    for told in claims("nextcloud", person):
        assert (told["user_id"], told["groups"], told["quota"]) == (person.username, ["kmu-users"], "20 GB")
        assert told["email"] == person.mail
        assert re.fullmatch(r"[0-9a-f-]{36}", told["sub"])


def test_an_administrator_is_one_in_nextcloud_too(people: Any) -> None:
    """A quota that Nextcloud could not read is left out."""
    token, _ = claims("nextcloud", people("kmu-users", "kmu-admins", nextcloud_quota="viel"))
    assert (sorted(token["groups"]), token["quota"]) == (["admin", "kmu-admins", "kmu-users"], "default")


def test_a_person_signs_in_to_chat(people: Any) -> None:
    """K36, K67: Synapse makes the account's name of `preferred_username`."""
    person = people("kmu-users")
    token, info = claims("synapse", person)
    assert token["preferred_username"] == info["preferred_username"] == person.username


@pytest.mark.parametrize("client", REDIRECTS)
def test_a_person_outside_is_refused(client: str, people: Any) -> None:
    """An account alone opens no app."""
    person = people()
    end, page = Browser().open(authorize(client), person.username, person.password)
    assert not end.startswith(REDIRECTS[client][0])
    assert page is not None
    assert "denied" in page.text.lower() or "verweigert" in page.text.lower()


@pytest.mark.parametrize("client", REDIRECTS)
def test_nobody_is_sent_elsewhere(client: str, people: Any) -> None:
    person = people("kmu-users")
    end, page = Browser().open(authorize(client, "https://elsewhere.example/"), person.username, person.password)
    assert urlsplit(end).netloc != "elsewhere.example"
    assert page is not None


def allowed(slug: str, person: Person) -> bool:
    passing: bool = ask(f"core/applications/{slug}/check_access/?for_user={person.key}")["passing"]
    return passing


@pytest.mark.parametrize("slug", ["dozzle", "panel"])
def test_logs_and_administration_are_for_administrators(slug: str, people: Any) -> None:
    """K39."""
    assert allowed(slug, people("kmu-users", "kmu-admins"))
    assert not allowed(slug, people("kmu-users"))
    assert not allowed(slug, people())


@pytest.mark.parametrize("slug", ["element", "jitsi", "site-wiki"])
def test_pages_are_for_people_of_the_company(slug: str, people: Any) -> None:
    assert allowed(slug, people("kmu-users"))
    assert not allowed(slug, people())


def proxied(host: str, person: Person) -> httpx.Response:
    """What Caddy hears about a visitor of a protected page, after their sign-on."""
    visitor = Browser()
    door = f"https://{host}.kmu.test/outpost.goauthentik.io"
    end, page = visitor.open(visitor.visit(f"{door}/auth/caddy").headers["location"], person.username, person.password)
    if page is None and end.startswith(door):
        visitor.visit(end)
    return visitor.visit(f"{door}/auth/caddy")


def test_the_logs_open_for_an_administrator_alone(people: Any) -> None:
    """K39: walked through the embedded outpost, as Caddy asks it."""
    admin = people("kmu-users", "kmu-admins")
    seen = proxied("logs", admin)
    assert (seen.status_code, seen.headers["x-authentik-username"]) == (200, admin.username)
    assert proxied("logs", people("kmu-users")).status_code == 302


def test_the_page_of_sign_on_is_the_companys() -> None:
    """Name, colour and logo are what every visitor's browser is told."""
    brand = Browser().visit("/api/v3/core/brands/current/").json()
    assert brand["branding_title"] == "Trial GmbH"
    assert brand["branding_logo"] == "https://www.kmu.test/logo.svg"
    assert "#b4232f" in brand["branding_custom_css"]
    page = Browser().visit(f"/if/flow/{SIGN_ON}/").text
    assert "#b4232f" in page
    assert "<title>" in page
    assert "Trial GmbH" in page


def test_a_session_lasts_a_working_day(people: Any) -> None:
    person = people("kmu-users")
    visitor = Browser()
    assert visitor.sign_in(person.username, person.password)["component"] == "xak-flow-redirect"
    session = the(f"core/authenticated_sessions/?user__username={person.username}")
    lasts = time.mktime(time.strptime(session["expires"][:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.gmtime())
    assert 11.9 * HOURS < lasts <= 12 * HOURS


def guess(address: str, name: str, times: int) -> dict[str, Any]:
    for _ in range(times):
        seen = Browser(address).sign_in(name, "wrong-Password-1")
    return seen


def test_guessing_at_one_account_closes_it_to_that_address_alone(people: Any) -> None:
    """Neither the account elsewhere nor its neighbours in the office pay for it."""
    victim, neighbour = people("kmu-users"), people("kmu-users")
    office = Browser().address
    assert guess(office, victim.username, 5)["component"] == "ak-stage-password"
    refused = Browser(office).sign_in(victim.username, PASSWORD)
    assert refused["component"] == "ak-stage-access-denied"
    assert "Viertelstunde" in str(refused)
    assert Browser(office).sign_in(neighbour.username, PASSWORD)["component"] == "xak-flow-redirect"
    assert Browser().sign_in(victim.username, PASSWORD)["component"] == "xak-flow-redirect"
    assert Browser(office).stage(RECOVERY)["component"] == "ak-stage-identification"


def test_an_address_that_tries_many_names_is_refused_as_a_whole(people: Any) -> None:
    """Recovery too: it would tell nothing, but send mail."""
    person = people("kmu-users")
    address = Browser().address
    for number in range(50):
        guess(address, f"nobody-{address}-{number}", 1)
    assert Browser(address).sign_in(person.username, PASSWORD)["component"] == "ak-stage-access-denied"
    assert Browser(address).stage(RECOVERY)["component"] == "ak-stage-access-denied"
    assert Browser().sign_in(person.username, PASSWORD)["component"] == "xak-flow-redirect"


def test_without_the_setting_nobody_is_asked_for_a_second_factor(people: Any) -> None:
    person = people("kmu-users")
    assert Browser().sign_in(person.username, PASSWORD)["component"] == "xak-flow-redirect"


@pytest.mark.usefixtures("second_factor_required")
def test_a_required_second_factor_is_set_up_at_the_next_sign_on(people: Any) -> None:
    """Chosen, proven, recovery codes shown; from then on it is asked for."""
    person = people("kmu-users")
    visitor = Browser()
    choice = visitor.sign_in(person.username, PASSWORD)
    assert choice["component"] == "ak-stage-authenticator-validate"
    offered = {stage["meta_model_name"].rpartition(".")[2]: stage["pk"] for stage in choice["configuration_stages"]}
    assert set(offered) == {"authenticatortotpstage", "authenticatorwebauthnstage"}
    setup = visitor.stage(SIGN_ON, selected_stage=offered["authenticatortotpstage"])
    assert setup["component"] == "ak-stage-authenticator-totp"
    codes = visitor.stage(SIGN_ON, code=one_time_code(setup["config_url"]))
    assert codes["component"] == "ak-stage-authenticator-static"
    assert len(codes["codes"]) == 6
    assert visitor.stage(SIGN_ON, component=codes["component"])["component"] == "xak-flow-redirect"
    again = Browser()
    asked = again.sign_in(person.username, PASSWORD)
    assert {device["device_class"] for device in asked["device_challenges"]} == {"totp", "static"}
    assert again.stage(SIGN_ON, code=codes["codes"][0])["component"] == "xak-flow-redirect"


def test_no_browser_signs_in_through_the_directorys_door() -> None:
    """It asks for no second factor: outposts alone may use it."""
    assert Browser().stage(DIRECTORY)["component"] == "ak-stage-access-denied"


def recover(person: Person, postbox: Postbox) -> tuple[Browser, str]:
    """The visitor who asked, and the link that came by mail."""
    visitor = Browser()
    assert visitor.stage(RECOVERY)["component"] == "ak-stage-identification"
    assert visitor.stage(RECOVERY, uid_field=person.mail)["component"] == "ak-stage-email"
    assert postbox.arrived.wait(90)
    [message] = postbox.messages
    text = message.get_body(("plain",))
    assert text is not None
    [link] = re.findall(r"https://\S+flow_token=\S+", text.get_content())
    return visitor, link


@needs_smtp
def test_the_mail_for_a_new_password_is_ours(people: Any, postbox: Postbox) -> None:
    """U1, U2, U3, U5: both forms from our templates, with a link to the public name, and no localhost."""
    person = people("kmu-users")
    _, link = recover(person, postbox)
    [message] = postbox.messages
    html = message.get_body(("html",))
    assert html is not None
    assert message["Subject"] == "Neues Passwort für Trial GmbH"
    assert person.mail in message["To"]
    assert link.startswith(f"https://{PUBLIC}/if/flow/{RECOVERY}/?")
    assert link.replace("&", "&amp;") in html.get_content() or link in html.get_content()
    assert f"Guten Tag Real {person.username}" in html.get_content()
    assert "localhost" not in message.as_string()


@needs_smtp
def test_the_link_sets_a_new_password_once(people: Any, postbox: Postbox) -> None:
    """K35: weak ones are refused; who set one is signed in."""
    person = people("kmu-users")
    _, link = recover(person, postbox)
    visitor = Browser()
    query = urlsplit(link).query
    assert visitor.follow_mail(link, RECOVERY)["component"] == "ak-stage-prompt"
    weak = visitor.stage(RECOVERY, query, password="kurz1234", password_repeat="kurz1234")
    assert "mindestens 10 Zeichen" in str(weak) or "weak" in str(weak)
    new = "Ganz-anderes-Fahrrad-18"
    assert visitor.stage(RECOVERY, query, password=new, password_repeat=new)["component"] == "xak-flow-redirect"
    assert visitor.visit("/api/v3/core/users/me/").json()["user"]["username"] == person.username
    assert Browser().sign_in(person.username, new)["component"] == "xak-flow-redirect"


@needs_smtp
@pytest.mark.usefixtures("second_factor_required")
def test_where_all_need_a_second_factor_a_mailbox_alone_signs_nobody_in(people: Any, postbox: Postbox) -> None:
    person = people("kmu-users")
    _, link = recover(person, postbox)
    visitor, new = Browser(), "Ganz-anderes-Fahrrad-18"
    query = urlsplit(link).query
    assert visitor.follow_mail(link, RECOVERY)["component"] == "ak-stage-prompt"
    assert visitor.stage(RECOVERY, query, password=new, password_repeat=new)["component"] == "xak-flow-redirect"
    assert visitor.visit("/api/v3/core/users/me/").status_code == 403
    assert Browser().sign_in(person.username, new)["component"] == "ak-stage-authenticator-validate"


@contextmanager
def bound(name: str, password: str) -> Iterator[Any]:
    from ldap3 import Connection, Server  # type: ignore[import-untyped]

    host, _, port = LDAP.partition(":")
    user = f"cn={name},ou=users,dc=kmu,dc=test"
    connection = Connection(Server(host, int(port)), user, password, receive_timeout=60)
    try:
        connection.bind()
        yield connection
    finally:
        connection.unbind()


def bind(name: str, password: str) -> str:
    """What the directory says to this name and password."""
    with bound(name, password) as connection:
        return str(connection.result["description"])


@needs_ldap
def test_the_directory_is_searched_by_its_service_alone(people: Any) -> None:
    """K4, K38, K69, K105: with the password from the secrets file; others see themselves at most."""
    person = people("kmu-users")
    with bound("ldapservice", secret_value("authentik_ldap_bind_password")) as service:
        assert service.search("dc=kmu,dc=test", "(cn=noreply)", attributes=["mail"])
        assert service.entries[0].mail.value == "noreply@kmu.test"
    with bound(person.username, PASSWORD) as other:
        assert other.result["description"] == "success"
        assert not other.search("dc=kmu,dc=test", "(cn=noreply)", attributes=["mail"])


@needs_ak
@needs_ldap
def test_mail_finds_people_by_their_address(people: Any) -> None:
    """K12, K67: with the filter of Stalwart's plan: one request for one person, letter by letter; members alone."""
    person, stranger = people("kmu-users"), people()
    assert found(person.mail) == [person.mail]
    assert found(stranger.mail) == []
    ask(f"core/users/{person.key}/", "PATCH", json={"email": person.mail.capitalize()})
    assert found(person.mail) == []
    assert bring(RealHost())["authentik:addresses"].state is State.CHANGE
    assert found(person.mail) == [person.mail]


def found(address: str) -> list[str]:
    """Whom Stalwart would find."""
    [directory] = [json.loads(line) for line in plan_lines() if '"object": "Directory"' in line]
    wanted = directory["value"]["directory"]
    with bound("ldapservice", secret_value("authentik_ldap_bind_password")) as service:
        service.search(wanted["baseDn"], wanted["filterMailbox"].replace("?", address), attributes=["mail"])
        return [str(entry.mail) for entry in service.entries]


def plan_lines() -> list[str]:
    return rendered().files["stalwart/plan.ndjson"].content.decode().splitlines()


@needs_ldap
def test_a_wrong_password_opens_no_mailbox(people: Any) -> None:
    """K117."""
    assert bind(people("kmu-users").username, "wrong-Password-1") == "invalidCredentials"


@needs_ldap
def test_notices_are_sent_with_an_app_password() -> None:
    """K49, K107."""
    assert bind("noreply", secret_value("authentik_noreply_password")) == "success"


@needs_ldap
@pytest.mark.usefixtures("second_factor_required")
def test_mail_programs_need_no_second_factor(people: Any) -> None:
    """They have nowhere to type one; an app password binds as well."""
    person = people("kmu-users")
    assert bind(person.username, PASSWORD) == "success"
    identifier = f"{person.username}-phone"
    ask("core/tokens/", "POST", json={"identifier": identifier, "user": person.key, "intent": "app_password"})
    key = ask(f"core/tokens/{identifier}/view_key/")["key"]
    assert bind(person.username, key) == "success"


@needs_ldap
def test_who_left_is_out_at_once(people: Any) -> None:
    person = people("kmu-users")
    ask(f"core/users/{person.key}/", "PATCH", json={"is_active": False})
    assert bind(person.username, PASSWORD) == "invalidCredentials"
