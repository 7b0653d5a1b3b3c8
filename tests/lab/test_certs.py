"""Mail and calls show the certificate that Caddy has, today's and the renewed one."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from kmuctl.drivers.reach import Place
from kmuctl.drivers.tls import TlsClient
from kmuctl.model.host import Door
from kmuctl.operations.certificates import serial
from kmuctl.operations.certs import CALLS, MAIL, Consumer
from tests.lab.stack import HERE, LabSite, docker, eventually, health, ids, inside, name_of, report

pytestmark = pytest.mark.lab

DOORS = [(consumer, *door) for consumer in (CALLS, MAIL) for door in consumer.doors]


def shown(site: LabSite) -> dict[int, int]:
    """Serials by port, as somebody out there sees them."""
    client = TlsClient(lambda container, port, recent=False: Place(HERE, port))
    return {
        port: client.serial(Door(consumer.container, port, consumer.name(site.stack), starttls))
        for consumer, port, starttls in DOORS
    }


def folder(site: LabSite, name: str) -> Path:
    """Of one name in Caddy's storage."""
    return site.folder / f"data/caddy/data/caddy/certificates/local/{name}"


def caddys(site: LabSite) -> dict[int, int]:
    """Serials of what Caddy has, by the ports that are to show them."""
    found = {}
    for consumer, port, _ in DOORS:
        name = consumer.name(site.stack)
        found[port] = serial((folder(site, name) / f"{name}.crt").read_bytes())
    return found


def renew(site: LabSite) -> None:
    """Caddy makes new ones where it finds none at its start; a leaf of its own authority would else live for hours."""
    for consumer in (CALLS, MAIL):
        shutil.rmtree(folder(site, consumer.name(site.stack)))
    docker("restart", name_of("caddy"))
    eventually(lambda: health("caddy") == "healthy")


def test_every_port_shows_caddys_certificate(site: LabSite) -> None:
    """K8, K12: sending (465, 587), reading (993), other servers (25), calls (5349)."""
    assert shown(site) == caddys(site)


@pytest.mark.parametrize(("consumer", "uid"), [(CALLS, 65534), (MAIL, 2000)])
def test_nobody_else_can_read_the_key(site: LabSite, consumer: Consumer, uid: int) -> None:
    """K8: the program can, from inside its container."""
    status = Path(consumer.file(site.stack)).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, uid)
    path = f"/certs/{consumer.host}.pem"
    assert inside(consumer.container, "cat", path).stdout.count("PRIVATE KEY") == 2


def test_a_renewed_certificate_is_handed_on(site: LabSite) -> None:
    """K8, K12: nobody is restarted for it; the second time there is nothing to do."""
    before, old = ids(), shown(site)
    renew(site)
    synced = report(site.kmuctl("--json", "certs", "sync"))
    assert {"certs:turn", "certs:mail", "certs:turn:served", "certs:mail:served"} <= {
        step["step"] for step in synced["steps"]
    }
    assert shown(site) == caddys(site)
    assert not set(old.values()) & set(shown(site).values())
    assert [name for name, present in ids().items() if present != before[name]] == ["caddy"]
    quiet = site.kmuctl("certs", "sync")
    domain = site.stack.site.domain
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert quiet.stdout == f"nothing changed: certificates of turn.{domain} and mail.{domain}\n"


def test_up_hands_it_on_too(site: LabSite) -> None:
    """K8."""
    renew(site)
    site.up()
    assert shown(site) == caddys(site)
    assert site.plan() == {}


def test_a_stopped_program_is_named(site: LabSite) -> None:
    """A timer that fails says why."""
    docker("stop", name_of("coturn"))
    failed = site.kmuctl("certs", "sync")
    assert failed.returncode == 1
    assert "failed  certs:turn:served: coturn is not running" in failed.stderr
    site.up()
    assert site.kmuctl("certs", "sync").returncode == 0


def test_dns_has_the_keys_of_the_running_stalwart(site: LabSite) -> None:
    """K21, D53: both kinds, as Stalwart's own zone file has them."""
    answer = json.loads(site.kmuctl("dns", "--json").stdout)
    texts = [record["value"] for record in answer["records"] if record["name"].endswith("._domainkey")]
    assert sorted(text.split(";")[1].strip() for text in texts) == ["k=ed25519", "k=rsa"]
    assert not [warning for warning in answer["warnings"] if "DKIM" in warning]
