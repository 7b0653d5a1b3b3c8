"""A fresh server of its own kernel's making: a container with systemd and sshd, on a network with a second host.

It is entered as a real one is: over SSH, with the key that the provider put in. `inside` looks and breaks things behind
kmuctl's back, as the provider's console does.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.distance import HERE, distance
from tests.lab.stack import Run, docker, eventually, run

PREFIX = "kmuctl-lab-vps-"
SUBNETS_6 = {"bookworm": "fd00:6b6d:12::/64", "trixie": "fd00:6b6d:13::/64"}
CAPABILITIES = ("--cap-add=ALL", "--cap-drop=SYS_RESOURCE")
"""Not --privileged: where the machine itself lacks SYS_RESOURCE, it cannot give it away."""
UNCONFINED = ("--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined")
"""A nested engine writes below /proc/sys and mounts what it likes."""
MEMORY = ("--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp")
DISKS = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}
"""An overlay cannot lie on an overlay."""
ENTER = ("nsenter", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
CGROUPS, UNIFIED = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")
NEIGHBOUR_IMAGE = "kmuctl-lab/vps-trixie"
UPRIGHT = ("running", "degraded")


@contextmanager
def network(suite: str, *, keep: bool = False) -> Iterator[str]:
    """The street on which a server and its neighbours live, with both families of addresses."""
    name = PREFIX + suite
    if run("docker", "network", "inspect", name).returncode:
        docker("network", "create", "--ipv6", "--subnet", SUBNETS_6[suite], name)
    try:
        yield name
    finally:
        if not keep:
            docker("network", "rm", name)


@dataclass(frozen=True)
class Neighbour:
    """Another host on the network: what it reaches is open."""

    name: str
    network: str

    def inside(self, *command: str, stdin: str = "", within: float = 300) -> Run:
        return run(*self.way_in(), *command, stdin=stdin, within=within)

    def way_in(self) -> tuple[str, ...]:
        """`docker exec` puts a process into the container's cgroup, and version 2 refuses that where a nested engine
        has spread controllers below.
        """
        process = docker("inspect", "--format", "{{.State.Pid}}", self.name).strip()
        return (*ENTER, f"--target={process}", "--", "env", "--ignore-environment", *ENVIRONMENT)

    def say(self, *command: str) -> str:
        """What a command that must succeed prints."""
        done = self.inside(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def address(self) -> str:
        return str(self._network["IPAddress"])

    @property
    def address_6(self) -> str:
        return str(self._network["GlobalIPv6Address"])

    @property
    def _network(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", self.name))[0]["NetworkSettings"]["Networks"][self.network]
        return found

    def reaches(self, address: str, port: int) -> bool:
        """Somebody answers there: a refusal and silence are both a no."""
        look = f"import socket; socket.create_connection(({address!r}, {port}), 2)"
        return self.inside("python3", "-c", look).returncode == 0


@dataclass(frozen=True)
class Vps(Neighbour):
    """The server; `home` is that of the admin's laptop, with a key that opens the server."""

    home: Path

    @property
    def key(self) -> Path:
        return self.home / ".ssh/id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh/known_hosts"

    def url(self, user: str = "root", port: int = 22) -> str:
        return f"ssh://{user}@{self.address}{'' if port == 22 else f':{port}'}"

    def ssh(self, *command: str, user: str = "root", port: int = 22, options: tuple[str, ...] = ()) -> Run:
        """OpenSSH's own client, without kmuctl; one attempt."""
        fixed = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", f"UserKnownHostsFile={self.known_hosts}")
        return run(
            "ssh", "-F", "none", *fixed, "-i", str(self.key), "-p", str(port), *options, f"{user}@{self.address}",
            *command, within=60,
        )  # fmt: skip

    def trust(self) -> None:
        """As if the admin had compared the fingerprint already."""
        keys = self.inside("sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub").stdout
        lines = [f"{self.address} {' '.join(line.split()[:2])}\n" for line in keys.splitlines()]
        self.known_hosts.write_text("".join(lines))

    def open_for(self, user: str) -> None:
        """The key opens this user's account."""
        home = "/root" if user == "root" else f"/home/{user}"
        self.inside("install", "-d", "-m", "0700", "-o", user, "-g", user, f"{home}/.ssh")
        script = f"cat >{home}/.ssh/authorized_keys && chown {user}: {home}/.ssh/authorized_keys"
        self.inside("sh", "-c", script, stdin=self.key.with_suffix(".pub").read_text())

    def booted(self) -> bool:
        state = self.inside("systemctl", "is-system-running").stdout.strip()
        return state in UPRIGHT and self.inside("systemctl", "is-active", "ssh").returncode == 0

    def wait_for_boot(self) -> None:
        eventually(self.booted, within=120, what=f"{self.name} is up")

    def reboot(self) -> None:
        docker("restart", "--time", "60", self.name)
        self.wait_for_boot()

    def pull_the_plug(self) -> None:
        """Power off in the middle of everything, and on again."""
        docker("kill", self.name)
        docker("start", self.name)
        self.wait_for_boot()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """The link between this machine and the server is gone; the server lives on and its neighbours reach it."""
        rules = (("OUTPUT", "-d", self.address), ("INPUT", "-s", self.address))
        for rule in rules:
            assert run("iptables", "--wait", "--insert", *rule, "--jump", "DROP").returncode == 0
        try:
            yield
        finally:
            for rule in rules:
                run("iptables", "--wait", "--delete", *rule, "--jump", "DROP")

    @contextmanager
    def far_away(self, milliseconds: int, user: str = "root") -> Iterator[str]:
        """The way to the server by which every round trip takes so much longer."""
        known = self.known_hosts.read_text()
        with distance(self.address, 22, milliseconds) as port:
            self.known_hosts.write_text(known + known.replace(self.address, f"[{HERE}]:{port}"))
            yield f"ssh://{user}@{HERE}:{port}"
        self.known_hosts.write_text(known)

    def install(self, *packages: str) -> None:
        """What the admin wanted, before or beside kmuctl."""
        script = 'apt-get -qq update && apt-get -qq -y --no-install-recommends install "$@"'
        self.say("env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script, "sh", *packages)

    def container(self, name: str) -> dict[str, Any]:
        """What the server's own engine knows of it."""
        found: dict[str, Any] = json.loads(self.say("docker", "inspect", name))[0]
        return found

    def load(self, *images: str) -> None:
        """Local images into the server's own engine: no registry is within reach."""
        script = f'docker save "$@" | {shlex.join(self.way_in())} docker load --quiet'
        done = run("bash", "-o", "pipefail", "-c", script, "bash", *images, within=1200)
        assert done.returncode == 0, done.stderr


@contextmanager
def neighbour(street: str, name: str) -> Iterator[Neighbour]:
    """A host that does nothing by itself."""
    host = Neighbour(f"{street}-{name}", street)
    remove(host.name)
    start = ("--detach", "--name", host.name, "--network", street, "--cap-add=NET_ADMIN", "--init")
    docker("run", *start, NEIGHBOUR_IMAGE, "sleep", "infinity")
    try:
        yield host
    finally:
        remove(host.name)


@contextmanager
def vps(suite: str, street: str, home: Path, *, name: str = "server", keep: bool = False) -> Iterator[Vps]:
    """A fresh server of this suite, up and waiting; nothing of it is left afterwards, unless it is to be kept."""
    server = Vps(f"{street}-{name}", street, home)
    if not (keep and server.key.exists() and server.inside("true").returncode == 0):
        start(server, suite)
    try:
        yield server
    finally:
        if not keep:
            remove(server.name)


def start(server: Vps, suite: str) -> None:
    remove(server.name)
    make_key(server)
    docker("run", *options(suite, server), f"kmuctl-lab/vps-{suite}")
    server.wait_for_boot()
    server.open_for("root")


def options(suite: str, server: Vps) -> list[str]:
    disks = [f"--volume={server.name}-{disk}:{path}" for disk, path in DISKS.items()]
    groups = [f"--volume={cgroups(suite)}:{CGROUPS}:rw", "--cgroupns=host"]
    who = ["--detach", "--name", server.name, "--hostname", suite, "--network", server.network]
    return [*who, *groups, *disks, *CAPABILITIES, *UNCONFINED, *MEMORY]


def cgroups(suite: str) -> Path:
    """Where version 1 and 2 live side by side, each systemd gets what it knows: that of Debian 13 refuses version 1."""
    return UNIFIED if UNIFIED.exists() and suite != "bookworm" else CGROUPS


def make_key(server: Vps) -> None:
    server.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    server.key.unlink(missing_ok=True)
    made = run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "admin@laptop", "-f", str(server.key))
    assert made.returncode == 0, made.stderr


def remove(name: str) -> None:
    """Also what a killed run left behind."""
    run("docker", "rm", "--force", "--volumes", name)
    for disk in DISKS:
        run("docker", "volume", "rm", "--force", f"{name}-{disk}")


KERNEL = ("kernel", "fs", "vm", "dev")
"""Settings that a container shares with its machine; those of the network are its own."""


@contextmanager
def kernel_kept() -> Iterator[None]:
    """What the servers set in the kernel, from their first boot on, is taken back."""
    before = kernel_settings()
    try:
        yield
    finally:
        for path, value in kernel_settings().items():
            if path in before and before[path] != value:
                with suppress(OSError):
                    path.write_text(before[path])


def kernel_settings() -> dict[Path, str]:
    paths = [path for part in KERNEL for path in Path("/proc/sys", part).rglob("*") if path.is_file()]
    found = {}
    for path in paths:
        if path.stat().st_mode & 0o200:
            with suppress(OSError, UnicodeDecodeError):
                found[path] = path.read_text()
    return found
