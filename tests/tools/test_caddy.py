"""The rendered Caddyfile in the real Caddy: it is valid, tidy, and sends requests where the design says.

Rows K2, K58-K66, K110, U48, U53.
"""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.rendered.sites import SITES, Project, project, project_of
from tests.tools.programs import program, run

pytestmark = pytest.mark.tool


def relocated(text: str, folder: Path) -> str:
    """The same Caddyfile with its folders below a temporary one: `validate` opens logs and certificates."""
    return (
        text.replace("/var/log/caddy", f"{folder}/log")
        .replace("/certs/site", f"{folder}/site")
        .replace("//run/caddy-admin.sock", f"/{folder}/admin.sock")
    )


def own_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "acme.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.acme.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "site.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "site.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.parametrize("site", SITES)
def test_caddy_accepts_the_file(site: str, tmp_path: Path) -> None:
    own_certificate(tmp_path)
    file = tmp_path / "Caddyfile"
    file.write_text(relocated(project(site).text("caddy/Caddyfile"), tmp_path))
    run("caddy", "validate", "--config", file)


@pytest.mark.parametrize("site", SITES)
def test_the_file_is_formatted_as_caddy_likes_it(site: str) -> None:
    text = project(site).text("caddy/Caddyfile")
    assert run("caddy", "fmt", "-", stdin=text) == text


def test_the_start_pages_own_file_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "Caddyfile"
    file.write_text(project().text("homepage/Caddyfile"))
    run("caddy", "validate", "--config", file)


# --- the running program ----------------------------------------------------------------------------------------


class Upstream(http.server.BaseHTTPRequestHandler):
    """Stands behind every name: says who it is and which headers it got. As Authentik, it asks for a login.

    Whoever asks may name the status of the answer.
    """

    def do_GET(self) -> None:
        if self.path.startswith("/outpost.goauthentik.io/auth/caddy") and "session" not in self.headers.get(
            "Cookie", ""
        ):
            self.send_response(302)
            self.send_header("Location", "https://auth.acme.example/sign-in")
            self.end_headers()
            return
        name = str(self.connection.getsockname()[0])
        if location := self.headers.get("Cookie", "").partition("redirect-to:")[2]:
            self.send_response(302)
            self.send_header("Location", location)
        else:
            self.send_response(int(self.headers.get("X-Wanted-Status", 200)))
        if self.path.startswith("/outpost.goauthentik.io/auth/caddy"):
            self.send_header("X-Authentik-Username", "mmustermann")
        self.end_headers()
        self.wfile.write(json.dumps({"name": name, "path": self.path, "headers": dict(self.headers)}).encode())

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def upstream(self) -> str:
        return str(json.loads(self.body)["name"])

    @property
    def seen(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.body)["headers"]
        return found


@dataclass(frozen=True)
class Front:
    port: int
    names: dict[str, str]
    """The upstream's name by the loopback address that stands in for it."""
    log: Path
    client: str = "127.0.0.2"

    def get(self, host: str, path: str = "/", **headers: str) -> Answer:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10, source_address=(self.client, 0))) as connection:
            sent = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request("GET", path, headers={"Host": f"{host}acme.example", **sent})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read().decode())

    def leads_to(self, host: str, path: str = "/", **headers: str) -> str:
        answer = self.get(host, path, **headers)
        return self.names[answer.upstream] if answer.status == 200 else f"{answer.status}"


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(names: list[str], ports: dict[str, int]) -> Iterator[dict[str, str]]:
    """One small server for each name, all on loopback addresses of their own."""
    addresses = {f"127.9.0.{number}": name for number, name in enumerate(names, 1)}
    servers = [http.server.ThreadingHTTPServer((address, ports[name]), Upstream) for address, name in addresses.items()]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield addresses
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Caddy with the file of a site without TLS."""
    with standing(project("no TLS"), tmp_path_factory.mktemp("caddy")) as front:
        yield front


@contextmanager
def standing(present: Project, folder: Path) -> Iterator[Front]:
    """Only folders, Caddy's port and the upstreams' addresses are replaced."""
    port = free_port()
    text = relocated(present.text("caddy/Caddyfile"), folder)
    names = sorted(set(re.findall(r"(?:up|sso|forward_auth|reverse_proxy) ([a-z-]+):\d+", text)))
    ports = {name: free_port() for name in names}
    with serving(names, ports) as addresses:
        for address, name in addresses.items():
            text = re.sub(rf"(?<=[ ]){name}:\d+", f"{address}:{ports[name]}", text)
        text = text.replace("{\n", f"{{\n\thttp_port {port}\n", 1).replace("http://:9180", f"http://:{free_port()}")
        (folder / "Caddyfile").write_text(text)
        with running(folder):
            yield Front(port, addresses, folder / "log" / "access.log")


@contextmanager
def running(folder: Path) -> Iterator[None]:
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [program("caddy"), "run", "--config", folder / "Caddyfile"], stderr=output, stdout=output, env=environment
        )
        try:
            for _ in range(100):
                if "serving initial configuration" in (folder / "output").read_text():
                    break
                assert process.poll() is None, (folder / "output").read_text()
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("", "/", "homepage"),
        ("www.", "/", "homepage"),
        ("auth.", "/if/flow/default/", "authentik-server"),
        ("cloud.", "/status.php", "nextcloud"),
        ("cloud.", "/.well-known/carddav", "301"),
        ("cloud.", "/.well-known/caldav", "301"),
        ("matrix.", "/_matrix/client/versions", "synapse"),
        ("matrix.", "/_matrix/client/v3/rooms/%2Fx", "synapse"),
        ("matrix.", "/_synapse/client/oidc/callback", "synapse"),
        ("matrix.", "/_synapse/admin/v1/register", "404"),
        ("matrix.", "/_matrix/../_synapse/admin/v1/register", "404"),
        ("matrix.", "//_synapse/admin/v1/register", "404"),
        ("matrix.", "/", "302"),
        ("element.", "/", "302"),
        ("element.", "/config.json", "element"),
        ("element.", "/bundles/abc/bundle.js", "element"),
        ("meet.", "/room", "jitsi-web"),
        ("meet.", "/_sso/login", "302"),
        ("mail.", "/", "stalwart"),
        ("mail.", "/metrics/prometheus", "404"),
        ("autoconfig.", "/mail/config-v1.1.xml", "stalwart"),
        ("mta-sts.", "/.well-known/mta-sts.txt", "stalwart"),
        ("logs.", "/", "302"),
        ("logs.", "/outpost.goauthentik.io/callback", "authentik-server"),
        ("admin.", "/", "302"),
        ("turn.", "/", "404"),
    ],
)
def test_requests_go_where_they_belong(front: Front, host: str, path: str, expected: str) -> None:
    assert front.leads_to(host, path) == expected


@pytest.mark.parametrize(("host", "upstream"), [("logs.", "dozzle"), ("admin.", "panel"), ("element.", "element")])
def test_who_has_signed_in_gets_through(front: Front, host: str, upstream: str) -> None:
    assert front.get(host).headers["Location"] == "https://auth.acme.example/sign-in"
    answer = front.get(host, Cookie="session=1", X_Authentik_Username="akadmin", X_Authentik_Groups="kmu-admins")
    assert front.names[answer.upstream] == upstream
    assert answer.seen["X-Authentik-Username"] == "mmustermann"
    assert "kmu-admins" not in answer.body


@pytest.mark.parametrize("host", ["", "auth.", "cloud.", "mail.", "meet."])
def test_nobody_claims_to_be_somebody(front: Front, host: str) -> None:
    """Neither a sign-on header, nor another address than one's own."""
    answer = front.get(host, X_Authentik_Username="akadmin", X_authentik_jwt="x", X_Forwarded_For="192.0.2.1")
    assert "akadmin" not in answer.body
    assert "jwt" not in answer.body.lower()
    assert answer.seen["X-Forwarded-For"] == front.client


def test_behind_a_proxy_the_client_is_whom_the_proxy_names(tmp_path: Path) -> None:
    """One address, whatever the client wrote before it: Stalwart takes the first of a list, Nextcloud the last."""
    behind = project_of(tls={"mode": "off"}, network={"trusted_proxies": ["127.0.0.2"]})
    with standing(behind, tmp_path) as front:
        for host, path, asks in [("mail.", "/", ""), ("cloud.", "/", ""), ("logs.", "/", "session=1")]:
            said = {"X_Forwarded_For": "127.0.0.1, 192.0.2.1", "Forwarded": "for=127.0.0.1", "Cookie": asks}
            answer = front.get(host, path, **said)
            assert answer.seen["X-Forwarded-For"] == "192.0.2.1"
            assert "Forwarded" not in answer.seen


def test_matrix_is_found(front: Front) -> None:
    client = front.get("", "/.well-known/matrix/client")
    assert json.loads(client.body)["m.homeserver"] == {"base_url": "https://matrix.acme.example"}
    assert (client.headers["Content-Type"], client.headers["Access-Control-Allow-Origin"]) == ("application/json", "*")
    assert json.loads(front.get("", "/.well-known/matrix/server").body) == {"m.server": "matrix.acme.example:443"}


def test_headers_for_browsers(front: Front) -> None:
    page = front.get("").headers
    assert page["X-Content-Type-Options"] == "nosniff"
    assert page["X-Frame-Options"] == "SAMEORIGIN"
    assert "Server" not in page
    assert "X-Frame-Options" not in front.get("meet.", "/room").headers
    for host in ("", "auth.", "cloud.", "matrix.", "meet.", "mail."):
        assert front.get(host).headers["Strict-Transport-Security"].startswith("max-age=31536000")


def test_the_access_log_is_what_fail2ban_reads(front: Front) -> None:
    """K66: JSON with the client's address first, no token, not readable by everyone."""
    front.get("matrix.", "/_matrix/client/versions?access_token=sesame&loginToken=sesame&code=sesame&kept=1")
    lines = front.log.read_text().splitlines()
    assert "sesame" not in front.log.read_text()
    last = json.loads(next(line for line in reversed(lines) if "kept=1" in line))
    assert last["request"]["client_ip"] == front.client
    assert re.match(r"\d{4}-\d\d-\d\dT", last["ts"])
    assert list(last)[:5] == ["level", "ts", "logger", "msg", "request"]
    assert re.search(
        r'"msg":"handled request","request":\{"remote_ip":"[^"]+","remote_port":"\d+","client_ip":', lines[-1]
    )
    assert front.log.stat().st_mode & 0o777 == 0o640


LINKS = (
    "/recovery/use-token/sesame/",
    "/if/flow/kmu-recovery/?flow_token=sesame&kept=1",
    "/api/v3/flows/executor/kmu-recovery/?query=flow_token%3Dsesame%26next%3D%252F&kept=1",
    "/if/session-end/?id_token_hint=sesame",
    "/?next=%2Fcloud%3Fquery%3Dcode%253Dsesame",
    "/meet?JWT=sesame",
)


@pytest.mark.parametrize("path", LINKS)
def test_no_link_that_signs_in_is_in_the_access_log(front: Front, path: str) -> None:
    """Neither in the line of its own request, nor as the page that the next one came from, nor where it was sent."""
    before = len(front.log.read_text().splitlines())
    front.get("auth.", path, Referer=f"https://auth.acme.example{path}")
    front.get("auth.", "/redirected", Cookie=f"redirect-to:https://auth.acme.example{path}")
    lines = [json.loads(line) for line in front.log.read_text().splitlines()[before:]]
    assert len(lines) == 2
    assert "sesame" not in json.dumps(lines)
    assert "REDACTED" in lines[0]["request"]["uri"]
    assert "Referer" not in lines[0]["request"]["headers"]
    assert lines[1]["resp_headers"]["Location"][0].startswith("https://auth.acme.example/")


def test_the_health_check_leaves_no_line_in_the_access_log(front: Front) -> None:
    """It comes from inside the container, six times a minute."""
    replace(front, client="127.0.0.1").get("matrix.", "/?from=inside")
    front.get("matrix.", "/?from=outside")
    assert "from=outside" in front.log.read_text()
    assert "from=inside" not in front.log.read_text()
