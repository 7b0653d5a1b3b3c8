"""What the engine itself reports about the containers, not what Compose was told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kmuctl.model.stack import PROJECT
from tests.lab.stack import LabSite, containers, docker

pytestmark = pytest.mark.lab

ASK = """
import http.client, json, sys
def status(method, path):
    connection = http.client.HTTPConnection("dozzle-proxy", 2375, timeout=10)
    connection.request(method, path)
    return connection.getresponse().status
print(json.dumps([status(*question.split()) for question in sys.argv[1:]]))
"""


def test_exactly_the_declared_ports_are_published(site: LabSite) -> None:
    """K22, K79, K80, K83: what the port table says is what the engine opens, on every address of IPv4."""
    declared = {(number, port.protocol) for port in site.stack.ports() for number in port.numbers()}
    assert {(int(b["HostPort"]), protocol) for protocol, b in bindings()} == declared
    assert {b["HostIp"] for _, b in bindings()} == {"0.0.0.0"}


def bindings() -> list[tuple[str, dict[str, str]]]:
    return [
        (port.split("/")[1], binding)
        for item in containers().values()
        for port, found in item["NetworkSettings"]["Ports"].items()
        for binding in found or ()
    ]


def test_every_container_is_held_on_a_leash(site: LabSite) -> None:
    """K85: no new privileges, no capability but the named ones, a memory limit and a log limit."""
    limits = {container.name: container.memory for container in site.stack.containers()}
    for name, item in containers().items():
        host: dict[str, Any] = item["HostConfig"]
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] == limits[name] * 2**20, name
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}, name
        assert host["CapDrop"] == ["ALL"] and not host["Privileged"], name


def test_one_container_alone_holds_the_engines_socket(site: LabSite) -> None:
    """K14: and it hands on reading only."""
    with_socket = {name for name, item in containers().items() if "docker.sock" in json.dumps(item["HostConfig"])}
    assert with_socket == {"dozzle-proxy"}


def test_the_socket_proxy_only_reads(site: LabSite) -> None:
    """K14: Dozzle can list containers; stopping, starting commands and reading files is refused."""
    container = containers()["caddy"]["Id"]
    questions = [
        "GET /containers/json", f"POST /containers/{container}/stop", f"POST /containers/{container}/exec",
        f"DELETE /containers/{container}", f"GET /containers/{container}/archive?path=/data", "GET /images/json",
        "POST /containers/create",
    ]  # fmt: skip
    answer = docker("run", "--rm", "--network", f"{PROJECT}_engine", PYTHON, "python3", "-c", ASK, *questions)
    first, *others = json.loads(answer)
    assert first == 200
    assert set(others) <= {403, 405}


PYTHON = "python:3.13-slim-trixie"


def test_state_lies_below_the_hosts_folder_and_nowhere_else(site: LabSite) -> None:
    """K95: every folder that a container may write to and that outlives it is listed in the catalog."""
    declared = {
        str(site.folder / "data" / service.name / data.name) for service in site.stack.services for data in service.data
    }
    mounts = [(name, mount) for name, item in containers().items() for mount in item["Mounts"]]
    writable = {mount["Source"] for _, mount in mounts if mount["Type"] == "bind" and mount["RW"]}
    assert writable <= declared
    volumes = {mount["Source"]: name for name, mount in mounts if mount["Type"] == "volume"}
    assert {name for path, name in volumes.items() if any(Path(path).iterdir())} == set()


def test_containers_run_as_the_users_that_the_catalog_names(site: LabSite) -> None:
    """K41: files are owned by the user that the main process has; Nextcloud and Caddy start as root on purpose."""
    users = {container.name: container.uid for container in site.stack.containers()}
    for name in users.keys() - {"nextcloud", "caddy", "dozzle-proxy"}:
        owner = Path(f"/proc/{containers()[name]['State']['Pid']}").stat().st_uid
        assert owner == users[name], name
