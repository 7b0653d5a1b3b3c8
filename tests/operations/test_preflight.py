"""Whether a machine is fit: every reason against it in plain words, before anything is changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmuctl.drivers.engine import unreachable
from kmuctl.model.errors import HostError, Problems
from kmuctl.operations.preflight import INSTALL, preflight
from tests.fakes import FakeHost, Machine
from tests.operations.scenes import running
from tests.support import stack

NOTHING = Machine()
CADDY_PORTS = {(80, "tcp"), (443, "tcp"), (443, "udp"), (25, "tcp"), (10000, "udp")}


def listener(port: int, *, address: str = "0.0.0.0", program: str = "nginx", protocol: str = "tcp") -> str:
    process = f'users:(("{program}",pid=812,fd=6),("{program}",pid=813,fd=6))' if program else ""
    state = "LISTEN" if protocol == "tcp" else "UNCONN"
    return f"{protocol}   {state} 0      511          {address}:{port}       0.0.0.0:*    {process}\n"


def refusal(host: FakeHost) -> HostError:
    before = host.snapshot()
    with pytest.raises(HostError) as caught:
        preflight(stack(), host)
    assert host.snapshot() == before
    assert caught.value.exit_code == 1
    return caught.value


def test_a_good_machine_passes() -> None:
    """K20 D30."""
    assert preflight(stack(), NOTHING.host()) == []


def test_root_is_needed() -> None:
    """K28."""
    error = refusal(replace(NOTHING, user=1000).host())
    assert error.message == "kmuctl needs root here: it gives state folders to the containers' users"
    assert error.hint == "run it with sudo; in the group docker, `kmuctl status`, `logs` and `exec` work without"


def test_docker_is_not_installed() -> None:
    host = NOTHING.host()
    host.teach("docker", "--version", code=127, stderr="docker: command not found")
    error = refusal(host)
    assert (error.message, error.hint) == ("Docker is not installed", "`kmuctl harden` installs it")


def test_the_daemon_is_stopped() -> None:
    host = NOTHING.host()
    reason = "Error while fetching server API version: ('Connection aborted.', FileNotFoundError(2, 'No such file"
    host.engine.unreachable = unreachable(f"{reason} or directory'))")
    error = refusal(host)
    assert error.message == "the Docker engine does not answer"
    assert error.hint.startswith("start it: `systemctl start docker`")


@pytest.mark.parametrize(
    ("reason", "message", "hint"),
    [
        ("PermissionError(13, 'Permission denied')", "this user may not use Docker", "run it with sudo"),
        ("ConnectionRefusedError(111, 'Connection refused')", "the Docker engine does not answer", "systemctl start"),
        ("FileNotFoundError(2, 'No such file or directory')", "the Docker engine does not answer", "systemctl start"),
        ("Read timed out", "the Docker engine does not answer: Read timed out", "install Docker Engine"),
    ],
)
def test_ways_of_not_reaching_the_engine(reason: str, message: str, hint: str) -> None:
    error = unreachable(f"Error while fetching server API version: {reason}" if "(" in reason else reason)
    assert error.message == message
    assert hint in error.hint


def test_compose_is_missing() -> None:
    host = NOTHING.host()
    host.teach("docker", "compose", "version", "--short", code=1, stderr="docker: 'compose' is not a docker command.")
    error = refusal(host)
    assert error.message == "Docker has no Compose plugin (v2)"
    assert error.hint == f"`kmuctl harden` installs it; by hand: {INSTALL}"


@pytest.mark.parametrize("number", ["1.29.2", "2.19.1", "v2.9"])
def test_compose_is_too_old(number: str) -> None:
    """D45."""
    error = refusal(replace(NOTHING, compose=f"{number}\n").host())
    assert error.message == f"Docker Compose {number} is too old: at least 2.20 is needed"


@pytest.mark.parametrize("number", ["19.03.15", "20.9"])
def test_the_engine_is_too_old(number: str) -> None:
    """D45."""
    host = NOTHING.host()
    host.engine.number = number
    assert refusal(host).message == f"Docker Engine {number} is too old: at least 20.10 is needed"


@pytest.mark.parametrize("number", ["20.10.24+dfsg1", "28.3.0", "v29.0.1"])
def test_the_engine_is_new_enough(number: str) -> None:
    host = NOTHING.host()
    host.engine.number = number.removeprefix("v")
    assert preflight(stack(), host) == []


@pytest.mark.parametrize(
    ("port", "program", "line"),
    [
        (80, "nginx", "port 80/tcp (certificates, redirect to HTTPS) is taken by `nginx` (process 812)"),
        (443, "apache2", "port 443/tcp (HTTPS) is taken by `apache2` (process 812)"),
        (25, "exim4", "port 25/tcp (mail from other servers) is taken by `exim4` (process 812)"),
    ],
)
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "[::]", "*", "127.0.0.53%lo"])
def test_a_port_is_taken(port: int, program: str, line: str, address: str) -> None:
    """K22: named with its program; one that listens on loopback alone is in the way as well."""
    error = refusal(replace(NOTHING, listeners=listener(port, program=program, address=address)).host())
    assert error.message == f"this machine is not ready:\n  {line}"
    assert error.hint == "stop what holds the port: `ss -lntup` shows it"


def test_a_port_of_a_program_that_hides_its_name() -> None:
    error = refusal(replace(NOTHING, listeners=listener(80, program="")).host())
    assert "is taken by another program" in error.message


def test_a_port_in_the_middle_of_a_range() -> None:
    error = refusal(replace(NOTHING, listeners=listener(49170, protocol="udp", program="x")).host())
    assert "port 49170/udp (TURN relay) is taken by `x` (process 812)" in error.message


def test_other_ports_and_protocols_do_not_matter() -> None:
    free = listener(22, program="sshd") + listener(80, protocol="udp") + listener(8080)
    assert preflight(stack(), replace(NOTHING, listeners=free).host()) == []


def test_our_own_ports_do_not_count() -> None:
    text = "".join(listener(port, protocol=protocol, program="docker-proxy") for port, protocol in CADDY_PORTS)
    host = replace(NOTHING, listeners=text).host()
    host.engine.held = CADDY_PORTS
    assert preflight(stack(), host) == []


def test_ports_of_apps_that_are_off_do_not_count() -> None:
    host = replace(NOTHING, listeners=listener(25, program="exim4")).host()
    assert preflight(stack(apps={"stalwart": False}), host) == []


def test_too_little_disk() -> None:
    """D47."""
    error = refusal(replace(NOTHING, disk=4000).host())
    assert error.message.endswith("4000 MiB free on the disk of `/`: 10240 MiB are needed")
    assert "free some space" in error.hint


def test_a_running_site_needs_less_disk() -> None:
    host = replace(NOTHING, disk=4000).host()
    host.engine.images = running().engine.images
    assert preflight(stack(), host) == []


def test_one_more_image_needs_little_more() -> None:
    host = replace(NOTHING, disk=1000).host()
    host.engine.images = {name: image for name, image in running().engine.images.items() if "dozzle" not in name}
    assert " MiB are needed" in (message := refusal(host).message)
    assert 1024 < int(message.rsplit(": ", 1)[1].split()[0]) < 2048


@pytest.mark.parametrize("missing", ["/etc/ssl/site.crt", "/etc/ssl/site.key"])
def test_a_certificate_that_is_not_there(missing: str) -> None:
    """Before anything is written: exit 2."""
    paths = {"certificate": "/etc/ssl/site.crt", "key": "/etc/ssl/site.key"}
    host = NOTHING.host()
    for path in set(paths.values()) - {missing}:
        host.write(path, b"x")
    with pytest.raises(Problems, match=f"`{missing}` does not exist on this machine") as caught:
        preflight(stack(tls={"mode": "files", **paths}), host)
    assert (caught.value.exit_code, len(caught.value.found)) == (2, 1)


def test_another_site_on_this_machine() -> None:
    """Both would be the project `kmu`, and take each other's containers for their own."""
    host = running()
    assert preflight(stack(), host) == []
    with pytest.raises(HostError) as caught:
        preflight(stack(host={"folder": "/srv/other"}), host)
    assert caught.value.message == "another site runs on this machine, from `/opt/kmu/rendered`"
    assert caught.value.hint == "one site a machine; stop the other with `kmuctl --site /opt/kmu/kmu.toml down`"


def test_too_little_memory() -> None:
    """D47."""
    error = refusal(replace(NOTHING, memory=1024).host())
    assert error.message.endswith(f"1024 MiB of memory: these apps may use {stack().memory()} MiB")
    assert "switch apps off" in error.hint


def test_tight_memory_is_a_warning() -> None:
    (warning,) = preflight(stack(), replace(NOTHING, memory=stack().memory() - 1).host())
    assert warning.endswith("it may become slow")


@pytest.mark.parametrize("target", ["10.231.112.0/24", "10.231.120.7/32", "10.0.0.0/8"])
def test_a_subnet_collides_with_a_route(target: str) -> None:
    """K32."""
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": target, "dev": "wg0"}]
    error = refusal(replace(NOTHING, routes=routes).host())
    assert error.message.endswith(f"network.subnet 10.231.112.0/20 collides with the route to {target} on wg0")
    assert error.hint == "choose another private /20 as `subnet` under [network] in kmu.toml"


def test_a_route_to_one_address_collides() -> None:
    """`ip` shows it without a prefix length."""
    assert (
        "10.231.120.7/32 on wg0"
        in refusal(replace(NOTHING, routes=[{"dst": "10.231.120.7", "dev": "wg0"}]).host()).message
    )


def test_a_tunnel_for_everything_does_not_collide() -> None:
    """A VPN that takes all traffic splits the world in two; our own routes are more specific and win."""
    routes = [{"dst": target, "dev": "tun0"} for target in ("0.0.0.0/1", "128.0.0.0/1")]
    assert preflight(stack(), replace(NOTHING, routes=routes).host()) == []


def test_data_of_another_domain_is_refused() -> None:
    """K1: mail, chat and sign-on cannot move to another name."""
    host = running()
    with pytest.raises(HostError, match=r"`/opt/kmu` holds the data of acme.example, not of other.example"):
        preflight(stack(domain="other.example"), host)


def test_our_own_networks_do_not_collide() -> None:
    routes = [{"dst": "10.231.112.0/24", "dev": "br-1"}, {"dst": "10.9.0.0/16", "dev": "eth1"}]
    host = replace(NOTHING, routes=routes).host()
    host.engine.subnets["kmu_proxy"] = "10.231.112.0/24"
    assert preflight(stack(), host) == []


def test_all_problems_come_at_once() -> None:
    machine = replace(
        NOTHING, listeners=listener(80) + listener(25, program="exim4"), disk=10, memory=512,
        routes=[{"dst": "10.231.112.0/20", "dev": "tun0"}],
    )  # fmt: skip
    error = refusal(machine.host())
    head, *lines = error.message.splitlines()
    assert head == "this machine is not ready:"
    assert [line.split()[0] for line in lines] == ["port", "port", "network.subnet", "512", "10"]
    assert error.hint.count("stop what holds the port") == 1
