"""Another host tries passwords and doors: it is kept out, and nobody else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.stack import eventually
from tests.lab.vps import Neighbour, Vps
from tests.scenarios.admin import Admin

pytestmark = [pytest.mark.lab, pytest.mark.scenario]

GUESS = ("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=2")
DOORS = ("/wp-login.php", "/.env", "/.git/config", "/phpmyadmin/index.php")
ASK = """
import http.client, ssl, sys
address, name, *paths = sys.argv[1:]
context = ssl._create_unverified_context()
class Here(http.client.HTTPSConnection):
    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
for path in paths:
    link = Here(address, timeout=3)
    link.request("GET", path, headers={"Host": name})
    print(link.getresponse().status)
"""
PATIENCE = 60.0


@pytest.fixture
def attacked(running: Admin) -> Iterator[Vps]:
    yield running.server
    running.server.say("fail2ban-client", "unban", "--all")


def ask(host: Neighbour, server: Vps, name: str, *paths: str) -> list[str]:
    """HTTP statuses, from the real Caddy."""
    return host.inside("python3", "-c", ASK, server.address, name, *paths).stdout.split()


def test_who_guesses_accounts_is_banned(attacked: Vps, stranger: Neighbour, visitor: Neighbour) -> None:
    """K24: from SSH; who does not guess still gets in."""

    def kept_out() -> bool:
        for name in ("admin", "oracle", "test"):
            stranger.inside(*GUESS, f"{name}@{attacked.address}", "true")
        return not stranger.reaches(attacked.address, 22)

    assert stranger.reaches(attacked.address, 22)
    eventually(kept_out, within=PATIENCE, what="the stranger is banned")
    assert visitor.reaches(attacked.address, 22)
    assert attacked.ssh("true").returncode == 0


def test_who_tries_known_doors_is_banned(
    attacked: Vps, running: Admin, stranger: Neighbour, visitor: Neighbour
) -> None:
    """K66, K87-K89: from the containers' ports, by Caddy's own log; the office next door still reads its files."""
    name = f"cloud.{running.stack.site.domain}"
    assert ask(visitor, attacked, name, "/status.php") == ["200"]
    assert len(ask(stranger, attacked, name, *DOORS)) == len(DOORS)
    eventually(lambda: not stranger.reaches(attacked.address, 443), within=PATIENCE, what="the stranger is banned")
    assert ask(visitor, attacked, name, "/status.php") == ["200"]
    assert ask(stranger, attacked, name, "/status.php") == []


def test_the_machine_and_its_containers_are_never_banned(attacked: Vps, running: Admin) -> None:
    """K88, PITFALLS 20: the same doors, tried from the machine itself."""
    name = f"cloud.{running.stack.site.domain}"
    for _ in range(3):
        assert len(ask(attacked, attacked, name, *DOORS)) == len(DOORS)
    assert attacked.address in attacked.say("ip", "address")
    eventually(lambda: "wp-login" in attacked.say("tail", "-n", "50", "/opt/kmu/data/caddy/logs/access.log"))
    assert attacked.address not in attacked.say("fail2ban-client", "banned")
