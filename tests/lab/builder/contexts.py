"""Build contexts: the files of an image folder, and what apt and pip must know about this machine."""

from __future__ import annotations

import configparser
import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.lab.builder.rootfs import mirror, security_mirror

FOLDERS = Path(__file__).resolve().parents[1] / "images"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")

APT_SOURCE = """\
Types: deb
URIs: {uri}
Suites: {suites}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def parents(folder: str) -> set[str]:
    """What this folder's Dockerfile starts from or copies from: other folders, a root file system."""
    dockerfile = (FOLDERS / folder / "Dockerfile").read_text()
    return set(re.findall(r"^(?:FROM |COPY --from=)kmuctl-lab/([\w:-]+)(?=\s|$)", dockerfile, re.MULTILINE))


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
    if folder in ("debian", "vps"):
        yield "ca-certificates.crt", CERTIFICATES.read_bytes()
    if folder in ("python", "vps"):
        yield "pip.conf", pip_settings().encode()
    if folder == "vps":
        yield "debian.sources", apt_sources().encode()


def apt_sources() -> str:
    """As a fresh Debian has them; `SUITE` is put in where the suite is known."""
    security = security_mirror()
    entries = [(mirror(), "SUITE SUITE-updates"), *([(security, "SUITE-security")] if security else [])]
    return "\n".join(APT_SOURCE.format(uri=uri, suites=suites) for uri, suites in entries)


def pip_settings() -> str:
    machine = configparser.ConfigParser(interpolation=None)
    machine.read(["/etc/pip.conf", Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"])
    found = dict(machine["global"]) if machine.has_section("global") else {}
    found |= {name: os.environ[key] for name in PIP_SETTINGS if (key := environment_name(name)) in os.environ}
    lines = [f"{name} = {found[name]}" for name in PIP_SETTINGS if name in found]
    return "\n".join(["[global]", "root-user-action = ignore", "disable-pip-version-check = true", *lines, ""])


def environment_name(setting: str) -> str:
    return "PIP_" + setting.upper().replace("-", "_")
