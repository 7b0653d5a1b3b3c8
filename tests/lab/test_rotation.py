"""Every secret of the running stack gets a new value, at once: the hardest order there is."""

from __future__ import annotations

import hmac
import json
import smtplib
import socket
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from time import time
from typing import Any

import httpx
import ldap3  # type: ignore[import-untyped]
import psycopg
import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.model.secrets import Secret
from kmuctl.operations.nextcloud.access import ADMIN
from kmuctl.operations.nextcloud.occ import call
from tests.lab.bosh_client import BoshClient, Refused
from tests.lab.stack import HERE, LabSite, address, containers, ids, report, run, sign_in
from tests.lab.test_chat import signed_in as opened_chat
from tests.lab.test_database import connect
from tests.lab.test_mail import noreply, submission, told_of_a_guess
from tests.lab.test_meetings import PARTS
from tests.lab.test_nextcloud import signed_in as opened_files
from tests.lab.turn_client import Refused as NoRelay
from tests.lab.turn_client import TurnClient, credential

pytestmark = pytest.mark.lab
GROWS = "synapse_retired_keys"


@pytest.fixture(scope="module")
def before(site: LabSite) -> dict[str, str]:
    """The old values, after all of them were rotated."""
    old = site.secrets()
    done = site.kmuctl("secrets", "rotate", *sorted(old.keys() - {GROWS}))
    assert done.returncode == 0, done.stderr
    assert not [name for name, value in old.items() if value in done.stdout + done.stderr]
    return old


def test_every_value_is_another_one_and_all_holds(site: LabSite, before: dict[str, str]) -> None:
    new = site.secrets()
    assert new.keys() == before.keys()
    assert [name for name in before if new[name] == before[name]] == []
    running = ids()
    assert site.plan() == {}
    assert site.up()["steps"] == []
    assert ids() == running


def test_no_file_knows_an_old_value(site: LabSite, before: dict[str, str]) -> None:
    texts = {
        path: path.read_bytes() for path in [site.folder / "secrets.env", *site.rendered.rglob("*")] if path.is_file()
    }
    old = {name: value for name, value in before.items() if name != GROWS}
    assert [(name, path) for name, value in old.items() for path, text in texts.items() if value.encode() in text] == []


def database(role: str, site: LabSite, password: str) -> bool:
    try:
        connect(role, role, password).close()
    except psycopg.OperationalError as error:
        assert "password authentication failed" in str(error)
        return False
    return True


def authentik_api(site: LabSite, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"http://{address('authentik-server')}:9000/api/v3/core/users/me/", headers=headers).is_success


def akadmin(site: LabSite, password: str) -> bool:
    with site.browser() as browser:
        return sign_in(site, browser, "akadmin", password)


def openid_client(name: str, site: LabSite, secret: str) -> bool:
    """Whether the client is known to Authentik; it has no code to offer."""
    form = {"grant_type": "authorization_code", "code": "none", "client_id": name, "client_secret": secret}
    answer = httpx.post(f"http://{address('authentik-server')}:9000/application/o/token/", data=form)
    assert answer.json()["error"] in ("invalid_client", "invalid_grant"), answer.text
    return bool(answer.json()["error"] == "invalid_grant")


def directory(login: str, site: LabSite, password: str) -> bool:
    server = ldap3.Server(address("authentik-ldap"), port=3389, get_info=ldap3.NONE)
    link = ldap3.Connection(server, f"cn={login},ou=users,{site.stack.site.base_dn}", password)
    try:
        return bool(link.bind())
    finally:
        link.unbind()


def noreply_sends(site: LabSite, password: str) -> bool:
    """Mail asks the directory."""
    with submission(465) as link:
        try:
            link.login(noreply(site)[0], password)
        except smtplib.SMTPAuthenticationError:
            return False
    return True


def emergency(site: LabSite, password: str) -> bool:
    """Nextcloud's local admin."""
    reply = LocalHost().http.ask(call("/ocs/v2.php/cloud/user?format=json", Secret(password), ADMIN))
    assert reply.status in (200, 401)
    return reply.status == 200


def valkey(site: LabSite, password: str) -> bool:
    with socket.create_connection((address("nextcloud-valkey"), 6379), timeout=10) as link:
        link.sendall(f"AUTH {password}\r\n".encode())
        answer = link.recv(1024)
    assert answer.startswith((b"+OK", b"-WRONGPASS")), answer
    return answer.startswith(b"+OK")


def synapse(path: str, **options: object) -> httpx.Response:
    return httpx.request(str(options.pop("method", "GET")), f"http://{address('synapse')}:8008{path}", **options)  # type: ignore[arg-type]


def synapse_admin(site: LabSite, token: str) -> bool:
    user = {"user_id": f"@kmuctl-admin:{site.stack.site.domain}"}
    answer = synapse("/_synapse/admin/v2/users", params=user, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 401)
    return answer.is_success


def registration(site: LabSite, secret: str) -> bool:
    """Whether Synapse believes the signature under a registration, which would be one of a name that is taken."""
    path = "/_synapse/admin/v1/register"
    form = {"nonce": synapse(path).json()["nonce"], "username": "kmuctl-admin", "password": "lab"}
    signed = "\0".join((form["nonce"], form["username"], form["password"], "notadmin"))
    mac = hmac.digest(secret.encode(), signed.encode(), "sha1").hex()
    answer = synapse(path, method="POST", json={**form, "mac": mac})
    assert (answer.status_code, answer.json()["errcode"]) in ((400, "M_USER_IN_USE"), (403, "M_UNKNOWN")), answer.text
    return answer.status_code == 400


def published(site: LabSite, key: str) -> bool:
    """Whether Synapse signs with it, by what it tells other servers."""
    return f"ed25519:{key.split()[1]}" in synapse("/_matrix/key/v2/server").json()["verify_keys"]


def signalling(part: str, site: LabSite, password: str) -> bool:
    try:
        with BoshClient(site, PARTS) as client:
            client.sign_in(part, password)
    except Refused as refused:
        assert str(refused) == "not-authorized"
        return False
    return True


def relay(site: LabSite, secret: str) -> bool:
    try:
        with TurnClient((HERE, 3478), *credential(secret, int(time()) + 600)) as turn:
            turn.allocate()
    except NoRelay as refused:
        assert refused.code == 401
        return False
    return True


def numbers(site: LabSite, password: str) -> bool:
    answer = httpx.get(f"http://{address('stalwart')}:8080/metrics/prometheus", auth=("metrics", password))
    assert answer.status_code in (200, 401)
    return answer.is_success


def event(site: LabSite, key: str) -> bool:
    """Whether the worker believes what is signed with it."""
    body = b'{"events": []}'
    signature = b64encode(hmac.digest(key.encode(), body, "sha256")).decode()
    hook = f"http://{address('usersync')}:8001/webhooks/stalwart"
    answer = httpx.post(hook, content=body, headers={"X-Signature": signature})
    assert answer.status_code in (200, 401)
    return answer.is_success


def has(container: str, site: LabSite, value: str) -> bool:
    """Whether the value is in the running container: for what only the product itself could judge."""
    return value in own_secrets(containers()[container])


def own_secrets(container: dict[str, Any]) -> str:
    """All that the container has now, of files and in its environment."""
    files = run("docker", "exec", container["Id"], "sh", "-c", "cat /run/secrets/* 2>/dev/null").stdout
    return json.dumps(container["Config"]["Env"]) + files


PROOFS: dict[str, tuple[Callable[[LabSite, str], bool], ...]] = {
    "postgres_password": (partial(database, "postgres"),),
    **{f"{role}_db_password": (partial(database, role),) for role in ("authentik", "nextcloud", "synapse", "stalwart")},
    "authentik_secret_key": (partial(has, "authentik-server"), partial(has, "authentik-worker")),
    "authentik_bootstrap_password": (akadmin,),
    "authentik_bootstrap_token": (authentik_api,),
    "authentik_ldap_token": (authentik_api, partial(has, "authentik-ldap")),
    "authentik_ldap_bind_password": (partial(directory, "ldapservice"),),
    "authentik_noreply_password": (partial(directory, "noreply"), noreply_sends),
    "nextcloud_admin_password": (emergency,),
    "nextcloud_valkey_password": (valkey,),
    "nextcloud_oidc_secret": (partial(openid_client, "nextcloud"),),
    "synapse_oidc_secret": (partial(openid_client, "synapse"),),
    "synapse_signing_key": (published,),
    "synapse_registration_secret": (registration,),
    "synapse_macaroon_secret": (partial(has, "synapse"),),
    "synapse_form_secret": (partial(has, "synapse"),),
    "synapse_admin_token": (synapse_admin,),
    "jitsi_jicofo_password": (partial(signalling, "focus"),),
    "jitsi_jvb_password": (partial(signalling, "jvb"),),
    "jitsi_jwt_secret": (partial(has, "jitsi-prosody"),),
    "turn_secret": (relay, partial(has, "synapse"), partial(has, "jitsi-prosody")),
    "stalwart_metrics_password": (numbers,),
    "stalwart_webhook_key": (event, partial(has, "stalwart")),
    "panel_session_secret": (partial(has, "panel"),),
}
"""For each secret who takes its value, asked from outside."""


def test_every_secret_has_its_proof(site: LabSite) -> None:
    """A secret that is added fails here until somebody says how its rotation is seen."""
    listed = {secret["name"] for secret in report(site.kmuctl("--json", "secrets", "list"))["secrets"]}
    assert listed == PROOFS.keys() | {GROWS}


@pytest.mark.parametrize("name", PROOFS)
def test_who_reads_it_takes_the_new_value_alone(site: LabSite, before: dict[str, str], name: str) -> None:
    """K31, K42."""
    new, old = site.secrets()[name], before[name]
    for taken in PROOFS[name]:
        assert (taken(site, new), taken(site, old)) == (True, False)


def test_no_container_has_an_old_value(site: LabSite, before: dict[str, str]) -> None:
    """K31: whatever was mounted or handed over when it started is what is in the secrets file now."""
    old = {name: value for name, value in before.items() if name != GROWS}
    for container, item in containers().items():
        found = own_secrets(item)
        assert [name for name, value in old.items() if value in found] == [], container


def test_people_sign_on_to_files_and_chat(site: LabSite, before: dict[str, str], person: httpx.Client) -> None:
    """K53, K67, K68."""
    name = site.stack.site.admin.username
    assert opened_files(site, person)["user"] == name
    assert opened_chat(site, person)["user_id"] == f"@{name}:{site.stack.site.domain}"


def test_events_of_mail_are_told(site: LabSite, before: dict[str, str]) -> None:
    """D21: signed with the new key by one, believed by the other."""
    told_of_a_guess("after-the-rotation")


def test_other_servers_learn_synapses_former_key(site: LabSite, before: dict[str, str]) -> None:
    """With which they check what it signed until then."""
    former = f"ed25519:{before['synapse_signing_key'].split()[1]}"
    assert former in synapse("/_matrix/key/v2/server").json()["old_verify_keys"]
