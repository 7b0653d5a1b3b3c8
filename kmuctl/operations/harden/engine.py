"""Docker Engine with Compose: an engine that is there is kept; a missing one comes from Docker or the distribution."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few, unseen
from kmuctl.operations.harden import apt
from kmuctl.operations.harden.daemon import settings_step
from kmuctl.operations.harden.openpgp import fingerprints
from kmuctl.operations.harden.preflight import CODENAMES
from kmuctl.operations.harden.templates import fill
from kmuctl.operations.preflight import MIN_COMPOSE, version

KEY, SOURCE = "/etc/apt/keyrings/kmuctl-docker.asc", "/etc/apt/sources.list.d/kmuctl-docker.sources"
KEY_URL = "https://download.docker.com/linux/{distribution}/gpg"
FINGERPRINT = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
FETCHED = "/var/lib/kmuctl/docker-key"
ENGINES = ("docker-ce", "docker.io")
FROM_DOCKER = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin", "docker-buildx-plugin")
FROM_DISTRO = {
    "trixie": ("docker.io", "docker-cli", "docker-compose", "docker-buildx"),
    "noble": ("docker.io", "docker-compose-v2", "docker-buildx"),
    "resolute": ("docker.io", "docker-compose-v2", "docker-buildx"),
}
"""By codename. Debian 12 and Ubuntu 22.04 have no Compose that is new enough."""


def docker(stack: Stack, machine: Machine) -> Iterator[Step]:
    if stack.site.harden.docker_source == "docker":
        yield _source_step(machine)
        yield _engine_step(machine, FROM_DOCKER, after=("docker:source",))
    else:
        yield _engine_step(machine, FROM_DISTRO.get(machine.codename, ()), after=())
    yield _buildx_step(machine, after=("docker:engine",))
    yield settings_step(stack, after=("docker:engine",))
    if stack.site.harden.docker_users:
        yield _users_step(stack.site.harden.docker_users, after=("docker:engine",))


def _is_there(host: Reader) -> bool:
    """However it came here, an engine with Compose is enough."""
    if host.query(("docker", "--version")).code:
        return False
    compose = host.query(("docker", "compose", "version", "--short"))
    return compose.code == 0 and version(compose.stdout) >= MIN_COMPOSE and _has_daemon(host)


def _has_daemon(host: Reader) -> bool:
    """The client alone may have been installed to talk to another machine."""
    return host.query(("dockerd", "--version")).code == 0


def _source_step(machine: Machine) -> Step:
    """Docker's repository for this very distribution: the packages of another one may not even start."""
    content = fill("docker.sources", machine=machine, key=KEY).encode()

    def check(host: Reader) -> Drift | None:
        if _is_there(host) or _installed(host):
            return None
        if host.read(SOURCE) == content and _is_trusted(host.read(KEY)):
            return None
        return Drift(f"to add Docker's repository for {machine}")

    def apply(host: Host) -> None:
        _refuse_unknown(machine)
        host.write(KEY, _fetch_key(host, machine))
        host.write(SOURCE, content)

    return Step(name="docker:source", check=check, apply=apply, after=apt.READY)


def _refuse_unknown(machine: Machine) -> None:
    if machine.codename not in CODENAMES.values():
        raise StepFailed(
            f"Docker's packages for {machine} are not known to kmuctl: none of another release are taken",
            hint="install Docker by hand: https://docs.docker.com/engine/install/, or `--docker-source distro`",
        )


def _fetch_key(host: Host, machine: Machine) -> bytes:
    """By apt's own helper, which is on every machine and knows its proxy. Nothing is trusted before it is looked at."""
    apt.install(host, apt.missing(host, ["ca-certificates"]))
    url = KEY_URL.format(distribution=machine.distribution)
    host.make_folder("/var/lib/kmuctl", mode=0o700, uid=0)
    answer = host.run(("/usr/lib/apt/apt-helper", "download-file", url, FETCHED))
    if answer.code:
        raise StepFailed(
            f"Docker's key cannot be fetched from {url}: {answer.reason}",
            hint="is the way to the internet open? The distribution's Docker: `kmuctl harden --docker-source distro`",
        )
    key = host.read(FETCHED) or b""
    host.remove(FETCHED)
    if not _is_trusted(key):
        raise StepFailed(
            f"what {url} sends is not Docker's key: its fingerprint is not {FINGERPRINT}",
            hint="somebody may be in between: try from another network, and compare with Docker's documentation",
        )
    return key


def _is_trusted(key: bytes | None) -> bool:
    try:
        return fingerprints(key or b"") == [FINGERPRINT]
    except ValueError:
        return False


def _engine_step(machine: Machine, packages: tuple[str, ...], *, after: tuple[str, ...]) -> Step:
    def wanted(host: Reader) -> list[str]:
        return apt.missing(host, _fitting(host, machine, packages))

    def check(host: Reader) -> Drift | None:
        return None if _is_there(host) else Drift(f"to install: {few(wanted(host), most=6)}")

    def apply(host: Host) -> None:
        apt.install(host, wanted(host))

    return Step(
        name="docker:engine", check=check, apply=apply, after=(*apt.READY, *after), deadline=30,
        hint="`systemctl status docker` and `docker compose version` say more",
    )  # fmt: skip


def _buildx_step(machine: Machine, *, after: tuple[str, ...]) -> Step:
    """What builds images, beside an engine that is kept. It comes from the engine's own side, or not at all."""

    def package(host: Reader) -> str:
        sides = {"docker-ce": FROM_DOCKER, "docker.io": FROM_DISTRO.get(machine.codename, ())}
        known = [name for engine in _installed(host) for name in sides[engine] if "buildx" in name]
        return known[0] if known else ""

    def check(host: Reader) -> Drift | None:
        if host.query(("docker", "buildx", "version")).code == 0:
            return None
        if wanted := package(host):
            return Drift(f"to install: {wanted}")
        if host.query(("docker", "--version")).code:
            return unseen("Docker")
        return Drift("this engine has no buildx, and no package of its side: images are not built here", tolerable=True)

    def apply(host: Host) -> None:
        apt.install(host, [package(host)])

    return Step(name="docker:buildx", check=check, apply=apply, after=after, hint="`docker buildx version` says more")


def _fitting(host: Reader, machine: Machine, packages: tuple[str, ...]) -> tuple[str, ...]:
    """Never the packages of the other side: their engine would take the place of the present one."""
    kept = _installed(host)
    if kept == ["docker-ce"]:
        return FROM_DOCKER
    fitting = FROM_DISTRO.get(machine.codename, ()) if kept else packages
    if not fitting:
        first = "`apt-get remove docker.io` (containers and data stay), then " if kept else ""
        raise StepFailed(
            f"the packages of {machine} have no Docker Compose 2.20 or newer",
            hint=f'take Docker\'s own: {first}`docker_source = "docker"` under [harden]',
        )
    return fitting


def _installed(host: Reader) -> list[str]:
    return [name for name, status in apt.statuses(host, ENGINES).items() if status == "installed"]


def _users_step(users: tuple[str, ...], *, after: tuple[str, ...]) -> Step:
    """Only adds: who else is in the group is the admin's affair."""

    def outside(host: Reader) -> list[str]:
        members = host.query(("getent", "group", "docker")).stdout.strip().rpartition(":")[2].split(",")
        return [user for user in users if user not in members]

    def check(host: Reader) -> Drift | None:
        found = outside(host)
        if not found:
            return None
        meaning = "whoever is in it is root on this machine, from the next sign-in on"
        return Drift(f"to add to the group docker: {few(found)}; {meaning}")

    def apply(host: Host) -> None:
        for user in outside(host):
            answer = host.run(("gpasswd", "--add", user, "docker"))
            if answer.code:
                raise StepFailed(
                    f"`{user}` cannot be added to the group docker: {answer.reason}",
                    hint="an account of that name must exist (`adduser`), or take it off `docker_users` under [harden]",
                )

    return Step(name="docker:users", check=check, apply=apply, after=after)
