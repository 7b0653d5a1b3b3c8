"""No health check passes while its service is broken: break many at once, look, and let one `up` mend them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from tests.lab.stack import LabSite, docker, eventually, health, name_of, report

pytestmark = pytest.mark.lab

FROZEN = (
    "caddy", "homepage", "element", "coturn", "nextcloud-valkey", "dozzle-proxy", "panel", "usersync", "jitsi-web",
    "authentik-ldap",
)  # fmt: skip
"""Their processes are stopped in the middle of everything: ports stay open, nothing answers."""
STOPPED = ("postgres", "jitsi-jvb")
FOLLOWING = (
    "authentik-server", "authentik-worker", "nextcloud", "nextcloud-cron", "synapse", "stalwart", "dozzle",
    "jitsi-jicofo",
)  # fmt: skip
"""Whole themselves, but what they need is gone: the database, the engine behind its proxy, a bridge."""
PATIENCE = 200


@pytest.fixture(scope="module", autouse=True)
def broken(site: LabSite) -> None:
    for name in FROZEN:
        for pid in docker("top", name_of(name), "-eo", "pid").split()[1:]:
            with suppress(ProcessLookupError):  # a health check that has ended meanwhile
                os.kill(int(pid), signal.SIGSTOP)
    docker("stop", *(name_of(name) for name in STOPPED))


@pytest.mark.parametrize("name", FROZEN)
def test_a_service_that_hangs_is_unhealthy(site: LabSite, name: str) -> None:
    """K85: an open port is not enough."""
    eventually(lambda: health(name) == "unhealthy", within=PATIENCE, what=f"{name} becomes unhealthy")


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_service_without_what_it_needs_is_unhealthy(site: LabSite, name: str) -> None:
    """K85, K114: Jicofo, over the real Prosody, says so when no bridge is left; mail that can store nothing is not
    well."""
    eventually(lambda: health(name) == "unhealthy", within=PATIENCE, what=f"{name} becomes unhealthy")


def test_the_plan_names_every_broken_container(site: LabSite) -> None:
    """K86: with its cause."""
    plan = site.plan()
    assert {f"container:{name}" for name in (*FROZEN, *STOPPED, *FOLLOWING)} <= plan.keys()
    assert "unhealthy" in plan["container:synapse"] and "exited" in plan["container:postgres"]


def test_one_up_mends_them_all(site: LabSite) -> None:
    """K43, K56: what is unhealthy is restarted, what stands still is started, and the rest recovers."""
    site.up()
    assert report(site.kmuctl("--json", "status"))["ok"] is True
    assert site.plan() == {}
