"""The filters, by the real fail2ban-regex, on lines that the real Caddy wrote. K87, K66; PITFALLS 20."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

from kmuctl.operations.harden.fail2ban import jails
from tests.rendered.sites import EXTRA_SITES, project_of
from tests.support import stack
from tests.tools.programs import run
from tests.tools.test_caddy import Front, standing

pytestmark = pytest.mark.tool
SITE = {"tls": {"mode": "off"}, "sites": EXTRA_SITES}
FAKE = '"},"status":401,"client_ip":"192.0.2.99","x":"'
FAKE_LINE = (
    '{"level":"info","ts":"2026-11-28T19:46:06Z","logger":"http.log.access.log1","msg":"handled request","request":'
    '{"remote_ip":"192.0.2.99","remote_port":"1","client_ip":"192.0.2.99","proto":"HTTP/1.1","method":"GET","host":"x",'
    '"uri":"/.env","headers":{}},"bytes_read":0,"user_id":"","duration":1,"size":0,"status":401,'
)
SIGNED_IN = {"Cookie": "session=1"}
CHUNKED = {"Transfer-Encoding": "chunked"}


@dataclass(frozen=True)
class Case:
    """A request, and which filters count it."""

    host: str
    path: str
    status: int = 200
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()


def counted(
    by: str, *where: str, status: int = 200, method: str = "GET", headers: dict[str, str] | None = None
) -> list[Case]:
    names = frozenset(f"kmuctl-{name}" for name in by.split())
    pairs = (address.partition("/") for address in where)
    return [Case(host, f"/{path}", status, method, headers or {}, names) for host, _, path in pairs]


CASES = [
    # pages as people use them
    *counted("", "/", "cloud./apps/files/", "auth./if/flow/default/", "meet./phpmyadmin", "meet./wp-admin", "admin./"),
    *counted("", "element./config.json", "mail./admin/", "mail./account", "auth./static/dist/x.js", "logs./api/events"),
    # doors that do not open
    *counted("denied", "auth./api/v3/core/users/", "mail./api/principal", "cloud./login", status=403),
    *counted("denied", "auth./api/v3/core/users/", "cloud./index.php/settings/users", status=401),
    *counted("denied", "auth./nothing", "cloud./backup.zip", "turn./", "matrix./_synapse/admin/v1/users", status=404),
    *counted("denied", "auth./nothing", status=404, method="POST", headers=CHUNKED),
    # programs in everyday life, and people who have signed in
    *counted("", "cloud./remote.php/dav/files/m/", "cloud./ocs/v2.php/x", "matrix./_matrix/client/v3/sync", status=401),
    *counted("", "cloud./index.php/ocs/v2.php/x", "mail./jmap/session", "mail./dav/cal/", status=401),
    *counted("", "cloud./core/preview?fileId=1", "cloud./index.php/avatar/m/64", "/.well-known/x", status=404),
    *counted("", "cloud./nothing", "auth./nothing", status=404, headers=SIGNED_IN),
    *counted("", "auth./nothing", status=404, headers={"Authorization": "Basic eDp5"}),
    *counted("denied", "auth./nothing", status=403, headers=SIGNED_IN),
    # probes, whatever the answer
    *counted("probes", "/.env", "cloud./.env.production", "auth./.git/config", "/wp-login.php?x=1", "www./xmlrpc.php"),
    *counted("probes", "cloud./phpMyAdmin/index.php", "cloud./pma/", "/blog/wp-login.php", "/api/.env", "//.env"),
    *counted("probes", "/cgi-bin/luci", "/actuator/health", "/vendor/phpunit/x.php", "/WP-ADMIN/"),
    *counted("probes", "matrix./wp-content/x"),
    *counted("probes", "/static/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "meet./..%2f..%2fetc/passwd"),
    *counted("probes", "/HNAP1/"),
    *counted("probes", "/.env", headers=SIGNED_IN),
    *counted("probes denied", "auth./.env", "turn./.git/HEAD", status=404),
    # people's own files may have any name
    *counted("", "cloud./remote.php/dav/files/m/site/.git/config", "/.envy"),
    *counted("", "cloud./remote.php/dav/files/m/wp-login.php"),
    *counted("", "cloud./s/abc/download?path=/&files=.env", "cloud./apps/files/?dir=/site/wp-admin"),
    *counted("", "meet./information.php4"),
    # what stands behind extra sites is not ours to judge
    *counted("", "shop./wp-login.php", "shop./.env", status=404),
    *counted("", "shop./wp-admin/", status=403),
    # guesses at the sign-on
    *counted("signin", "auth./api/v3/flows/executor/kmu-login/?query=next%3D%252F", method="POST"),
    *counted("", "auth./api/v3/flows/executor/kmu-login/?query=", status=302, method="POST"),
    *counted("", "auth./api/v3/flows/executor/kmu-login/?query=", "/x/api/v3/flows/executor/a/"),
    # nobody gets somebody else banned, and nobody hides
    *counted("", f"cloud./ok{FAKE}", "cloud./ok?" + FAKE_LINE.replace(" ", "+")),
    *counted("", "cloud./ok", headers={"User-Agent": FAKE}),
    *counted("", "cloud./ok", headers={"User-Agent": FAKE_LINE, "X": "\\"}),
    *counted("denied", f"auth./no{FAKE}", status=404),
    *counted("denied", "auth./no", status=404, headers={"User-Agent": '\\","Cookie":["x"],"y":["'}),
    *counted("probes", "/.env?" + FAKE_LINE.replace(" ", "+")),
]  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A line for each case."""
    with standing(project_of(**SITE), tmp_path_factory.mktemp("caddy")) as front:
        for number, case in enumerate(CASES):
            assert ask(front, case, number) in (case.status, 404, 302), case
        for _ in range(50):
            if len(front.log.read_text().splitlines()) == len(CASES):
                break
            time.sleep(0.1)
        yield front.log


def ask(front: Front, case: Case, number: int) -> int:
    """Byte by byte as the case has it: an attacker's program corrects nothing."""
    with closing(HTTPConnection("127.0.0.1", front.port, timeout=10, source_address=("127.0.0.2", 0))) as connection:
        connection.putrequest(case.method, case.path, skip_host=True, skip_accept_encoding=True)
        always = {"Host": f"{case.host}acme.example", "X-Wanted-Status": f"{case.status}", "X-Case": f"{number}"}
        for name, value in (always | case.headers).items():
            connection.putheader(name, value)
        connection.endheaders(b"0\r\n\r\n" if case.headers == CHUNKED else b"")
        return connection.getresponse().status


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours, beside what the package brings."""
    folder = tmp_path_factory.mktemp("fail2ban")
    for path, content in jails.files(stack(**SITE)).items():
        target = folder / path.removeprefix(f"{jails.FOLDER}/")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    return folder


def regex(configuration: Path, log: Path, name: str, *options: str) -> list[str]:
    file = configuration / "filter.d" / f"{name}.conf"
    return run("fail2ban-regex", "-c", configuration, *options, log, file).splitlines()


@pytest.mark.parametrize("name", [jail.name for jail in jails.WEB])
def test_a_filter_counts_what_it_should_and_nothing_else(name: str, log: Path, configuration: Path) -> None:
    # neighbours may be written in another order than they came
    lines = {int(json.loads(line)["request"]["headers"]["X-Case"][0]): line for line in log.read_text().splitlines()}
    matched = {line.removeprefix("|  ") for line in regex(configuration, log, name, "--print-all-matched")}
    wrong = [
        f"{'not ' if name in case.counted else ''}counted: {case}"
        for number, case in enumerate(CASES)
        if (lines[number] in matched) != (name in case.counted)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [jail.name for jail in jails.WEB])
def test_the_address_is_always_the_client_s_own(name: str, log: Path, configuration: Path) -> None:
    found = regex(configuration, log, name, "-o", "ip")
    assert found and {*found} == {"127.0.0.2"}


def test_the_time_is_read_from_each_line(log: Path, configuration: Path) -> None:
    text = "\n".join(regex(configuration, log, "kmuctl-denied"))
    assert f"[{len(CASES)}]" in text


def test_lines_over_tls_and_http3_are_read_too(log: Path, configuration: Path, tmp_path: Path) -> None:
    """The line as Caddy writes it for HTTPS: with an object for the connection, whose name is the client's word."""
    line = next(line for line in log.read_text().splitlines() if '"status":403' in line)
    tls = ',"tls":{"resumed":false,"version":772,"cipher_suite":4865,"proto":"h3","server_name":"a\\"}{","ech":false}}'
    secured = line.replace('},"bytes_read"', f'{tls},"bytes_read"', 1).replace("HTTP/1.1", "HTTP/3.0")
    (tmp_path / "log").write_text(secured + "\n")
    assert regex(configuration, tmp_path / "log", "kmuctl-denied", "-o", "ip") == ["127.0.0.2"]
