"""The steps of Nextcloud against a real one (see README.md): twice, by hand changed, and seen from a browser."""

from __future__ import annotations

import html
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kmuctl.model.secrets import Secret, Secrets
from kmuctl.model.step import Outcome, State, Step
from kmuctl.operations.caddy import ca_certificate
from kmuctl.operations.nextcloud import wiring
from kmuctl.operations.nextcloud.occ import occ
from kmuctl.operations.render import render
from tests.operations.scenes import bring
from tests.real.nextcloud import INSIDE, URL, RealHost, inside, put
from tests.support import stack

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (INSIDE and URL), reason="KMU_REAL_NEXTCLOUD and KMU_REAL_NEXTCLOUD_URL are not set"),
]
SITE = stack(domain="kmu.test", tls={"mode": "internal"}, nextcloud={"apps": ["calendar"]})
CACHE_PORT = 16379
CACHE = (
    b"""<?php $CONFIG = array('memcache.distributed' => '\\\\OC\\\\Memcache\\\\Redis',
  'memcache.locking' => '\\\\OC\\\\Memcache\\\\Redis', 'redis' => array('host' => '127.0.0.1', 'port' => %d));"""
    % CACHE_PORT
)
LOCAL = b"<?php $CONFIG = array('memcache.local' => '\\\\OC\\\\Memcache\\\\APCu');"
CACHE_SECONDS = 4
"""For so long a web process may still use an app value that was changed."""


def secrets(client: str = "a" * 48) -> Secrets:
    values = {spec.name: "x" * 48 for spec in SITE.secrets()}
    values |= {"nextcloud_db_password": "nextcloud", "nextcloud_oidc_secret": client}
    values |= {"nextcloud_admin_password": "Break-Glass-0123456789"}
    return Secrets({name: Secret(value) for name, value in values.items()})


def steps(client: str = "a" * 48) -> list[Step]:
    """Nextcloud's own, as if all that they come after held."""
    rendered = render(SITE, secrets(client))
    found = [*wiring(SITE, secrets(client), rendered)]
    own = {step.name for step in found}
    return [replace(step, after=tuple(name for name in step.after if name in own)) for step in found]


def up(host: RealHost, client: str = "a" * 48) -> dict[str, Outcome]:
    host.sent.clear()
    host.looks.clear()
    outcomes = bring(steps(client), host)  # type: ignore[arg-type]
    assert {name: outcome.cause for name, outcome in outcomes.items() if outcome.state is State.FAILED} == {}
    return outcomes


def changed(outcomes: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in outcomes.items() if outcome.state is not State.OK}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    """Our files where the image and Compose would put them, a cache, and the steps done once."""
    rendered = render(SITE, secrets())
    for path, file in rendered.files.items():
        if path.startswith("nextcloud/config/"):
            put(f"/kmu/{Path(path).name}", file.content)
        if path.startswith("secrets/nextcloud/"):
            put(f"/run/secrets/{Path(path).name}", file.content, "0400")
    hook = rendered.files["nextcloud/hooks/install-config.sh"].content
    put("/docker-entrypoint-hooks.d/before-starting/10-install-config.sh", hook, "0755")
    put("/usr/src/nextcloud/config/redis.config.php", CACHE)
    put("/usr/src/nextcloud/config/apcu.config.php", LOCAL)
    host = RealHost()
    authority = Authority(tmp_path_factory.mktemp("ca"))
    host.files[ca_certificate(SITE)] = authority.certificate
    cache = subprocess.Popen([*INSIDE, "valkey-server", "--port", str(CACHE_PORT), "--bind", "127.0.0.1", "--save", ""])
    try:
        sleep(1)
        first = up(host)
        assert "nextcloud:trust" in changed(first)
        host.authority = authority  # type: ignore[attr-defined]
        yield host
    finally:
        for name in ("redis", "apcu", "zz-kmu"):
            inside("rm", "-f", f"/var/www/html/config/{name}.config.php")
        cache.terminate()
        cache.wait()


class Authority:
    """A certificate authority and a server certificate for this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        key, name = (
            ec.generate_private_key(ec.SECP256R1()),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]),
        )
        own = self._builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
        self.certificate = own.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        server = ec.generate_private_key(ec.SECP256R1())
        here = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        signed = self._builder(name, x509.Name([]), server.public_key()).add_extension(here, True)
        pem = signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        private = server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "server.pem").write_bytes(private + pem)

    def _builder(self, issuer: x509.Name, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )  # fmt: skip


@pytest.fixture(scope="module")
def discovery(host: RealHost) -> Iterator[str]:
    """A provider as far as Nextcloud asks it before it sends a browser there."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            base = f"https://{self.headers['Host']}"
            document = {
                "issuer": f"{base}/o/nextcloud/", "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token", "jwks_uri": f"{base}/jwks", "userinfo_endpoint": f"{base}/me",
                "code_challenge_methods_supported": ["S256"], "response_types_supported": ["code"],
            }  # fmt: skip
            content = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Pages)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(host.authority.folder / "server.pem")  # type: ignore[attr-defined]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}/.well-known/openid-configuration"
    server.shutdown()
    server.server_close()


def values(app: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(inside(*occ("config:list", app, "--private", "--output=json")).stdout)["apps"]
    return found.get(app) or {}


def provider() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(inside(*occ("user_oidc:provider", "authentik", "--output=json")).stdout)
    return found


def browser() -> httpx.Client:
    return httpx.Client(base_url=URL, headers={"Host": "nextcloud"}, timeout=60)


def short(address: str) -> str:
    """The image's Apache makes the short ones; PHP's own server has `/index.php` in all."""
    return address.replace("/index.php/", "/", 1)


def sign_in(password: str) -> str:
    """Where the local form leads to. Its cookies are for HTTPS, which ends before this server."""
    with browser() as client:
        form = client.get("/index.php/login?direct=1")
        token = re.search('data-requesttoken="([^"]+)"', form.text)
        assert token, form.text[:500]
        cookies = "; ".join(f"{name}={value}" for name, value in form.cookies.items())
        data = {"user": "kmu-break-glass", "password": password, "requesttoken": html.unescape(token[1])}
        origin = {"Cookie": cookies, "Origin": "https://cloud.kmu.test"}
        answer = client.post("/index.php/login", data=data, headers=origin)
    return str(answer.headers["location"])


def test_a_second_run_changes_nothing(host: RealHost) -> None:
    """K56: no command but reading ones, few of them, and what cannot be had is told again."""
    again = up(host)
    assert (changed(again), host.sent) == (set(), [])
    assert "calendar" in again["nextcloud:apps"].warning
    print(f"readings: {', '.join(f'{seconds:.2f} s' for seconds in host.looks)}")


def test_settings_are_in_effect(host: RealHost) -> None:
    """K50, K52, K54, K56: of the configuration file, by Nextcloud's own word."""
    system = json.loads(inside(*occ("config:list", "system", "--private", "--output=json")).stdout)["system"]
    assert system["trusted_proxies"] == [SITE.subnet("proxy")]
    assert (system["default_language"], system["default_phone_region"]) == ("de", "DE")
    assert (system["mail_smtphost"], system["mail_smtpname"]) == ("mail.kmu.test", "noreply@kmu.test")
    assert system["memcache.locking"] == "\\OC\\Memcache\\Redis"
    assert values("core")["backgroundjobs_mode"] == "cron"


def test_no_index_is_missing(host: RealHost) -> None:
    """K56: a fresh installation lacks some."""
    for command in ("indices", "columns", "primary-keys"):
        said = inside(*occ(f"db:add-missing-{command}", "--dry-run")).stdout
        assert "CREATE" not in said and "ALTER" not in said


def test_the_sign_on_is_as_it_should_be(host: RealHost) -> None:
    """K53, K68."""
    seen = provider()
    assert (seen["clientId"], seen["scope"]) == ("nextcloud", "openid email profile nextcloud")
    assert seen["discoveryEndpoint"] == (
        "https://auth.kmu.test/application/o/nextcloud/.well-known/openid-configuration"
    )
    settings = seen["settings"]
    assert (settings["uniqueUid"], settings["mappingUid"], settings["groupProvisioning"]) == (False, "user_id", True)
    assert settings["groupWhitelistRegex"] == "/^(admin|kmu-.*)$/"
    assert values("user_oidc")["allow_multiple_user_backends"] == "0"


def test_a_login_leads_to_the_provider_and_is_mended(host: RealHost, discovery: str) -> None:
    """K53, K68, K115: with PKCE, over TLS of our own authority; what was changed by hand is named and put right."""
    assert inside(*occ("user_oidc:provider", "authentik", f"--discoveryuri={discovery}", "--scope=openid")).code == 0
    sleep(CACHE_SECONDS)
    with browser() as client:
        first = client.get("/index.php/login")
        way = f"/apps/user_oidc/login/{provider()['id']}"
        assert (first.status_code, short(first.headers["location"])) == (302, way)
        second = client.get(first.headers["location"])
    target = urlsplit(second.headers["location"])
    query = parse_qs(target.query)
    assert (second.status_code, target.path) == (303, "/authorize")
    assert (query["client_id"], query["code_challenge_method"]) == (["nextcloud"], ["S256"])
    assert [short(address) for address in query["redirect_uri"]] == ["https://cloud.kmu.test/apps/user_oidc/code"]
    outcome = up(host)["nextcloud:settings"]
    assert (outcome.state, outcome.cause) == (State.CHANGE, "sign-on: discoveryuri, scope changed")
    assert provider()["scope"] == "openid email profile nextcloud"


def test_a_rotated_secret_is_written_once_and_stays_out_of_arguments(host: RealHost) -> None:
    """K53, K31."""
    outcome = up(host, "b" * 48)["nextcloud:settings"]
    assert (outcome.state, outcome.cause) == (State.CHANGE, "sign-on: its secret changed")
    assert not [line for line in host.sent if "b" * 48 in line]
    assert changed(up(host, "b" * 48)) == set()
    up(host)


def test_the_way_in_for_emergencies(host: RealHost) -> None:
    """K68: the form is there at ?direct=1, the local admin is admin, and a password changed by hand is put right."""
    assert short(urlsplit(sign_in("Break-Glass-0123456789")).path) == "/apps/dashboard/"
    assert "direct=1" in sign_in("wrong")
    reset = (
        "OC_PASS=another-Password-1 exec php /var/www/html/occ user:resetpassword --password-from-env kmu-break-glass"
    )
    assert inside("setpriv", "--reuid=33", "--regid=33", "--clear-groups", "sh", "-c", reset).code == 0
    assert changed(up(host)) == {"nextcloud:break-glass"}
    assert not [line for line in host.sent if "Break-Glass-0123456789" in line]
    assert changed(up(host)) == set()


def test_mail_that_is_switched_off_leaves_no_password_behind(host: RealHost) -> None:
    """K50: Nextcloud copies every value into its own file, where it would stay."""
    for change in (("set", "kmu_test", "--value=1"), ("delete", "kmu_test")):
        assert inside(*occ(f"config:system:{change[0]}", *change[1:])).code == 0
    assert "'mail_smtppassword'" in inside("cat", "/var/www/html/config/config.php").stdout
    alone = stack(domain="kmu.test", tls={"mode": "internal"}, apps={"stalwart": False}, nextcloud={"apps": []})
    values = {spec.name: Secret("x" * 48) for spec in alone.secrets()} | dict(secrets())
    rendered = render(alone, Secrets(values))
    put("/kmu/zz-kmu.config.php", rendered.files["nextcloud/config/zz-kmu.config.php"].content)
    put("/var/www/html/config/zz-kmu.config.php", rendered.files["nextcloud/config/zz-kmu.config.php"].content)
    wired = [replace(step, after=()) for step in wiring(alone, Secrets(values), rendered)]
    try:
        settings = [step for step in wired if step.name == "nextcloud:settings"]
        outcome = bring(settings, host)["nextcloud:settings"]  # type: ignore[arg-type]
        assert "left over from a mail server of ours" in outcome.cause
        assert "mail_smtp" not in inside("cat", "/var/www/html/config/config.php").stdout
    finally:
        put("/kmu/zz-kmu.config.php", render(SITE, secrets()).files["nextcloud/config/zz-kmu.config.php"].content)
    assert changed(up(host)) == {"nextcloud:settings"}


def test_a_maintenance_mode_is_told_and_left_alone(host: RealHost) -> None:
    """K56."""
    inside(*occ("maintenance:mode", "--on"))
    try:
        host.sent.clear()
        outcomes = bring(steps(), host)  # type: ignore[arg-type]
        assert "maintenance mode" in outcomes["nextcloud:ready"].cause
        assert outcomes["nextcloud:settings"].state is State.BLOCKED
        assert host.sent == []
    finally:
        inside(*occ("maintenance:mode", "--off"))
    assert changed(up(host)) == set()


def test_an_unreadable_configuration_is_named(host: RealHost) -> None:
    """K56: occ ends with code 0 then, the page with 500; nothing is written."""
    inside("chmod", "0000", "/var/www/html/config/config.php")
    try:
        host.sent.clear()
        outcomes = bring(steps(), host)  # type: ignore[arg-type]
        assert (outcomes["nextcloud:ready"].state, host.sent) == (State.FAILED, [])
    finally:
        inside("chmod", "0640", "/var/www/html/config/config.php")
    assert changed(up(host)) == set()
