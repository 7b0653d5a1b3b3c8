"""The root file systems that all lab images stand on, from the mirror that apt already uses."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.builder.engine import LABEL, LabError, present, run, say

NOT_PACKED = ("./var/cache/apt/*", "./var/lib/apt/lists/*")
# What a provider's image has and minbase has not.
VPS = (
    "systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "iproute2", "iptables", "kmod", "sudo",
    "procps", "ca-certificates", "python3",
)  # fmt: skip


@dataclass(frozen=True)
class Rootfs:
    recipe: str
    """Names the tarball; changes when what debootstrap is told changes."""
    suite: str
    packages: tuple[str, ...] = ()


ROOTFS = {
    "rootfs:trixie": Rootfs("trixie-minbase-2", "trixie"),
    "rootfs:vps-bookworm": Rootfs("bookworm-vps-1", "bookworm", VPS),
    "rootfs:vps-trixie": Rootfs("trixie-vps-1", "trixie", VPS),
}


def mirror() -> str:
    """The Debian mirror that apt on this machine already uses."""
    found = [uri for uri in mirrors() if "security" not in uri]
    if not found:
        raise LabError("apt on this machine has no Debian mirror to derive from; see apt-get indextargets")
    return found[0]


def security_mirror() -> str | None:
    return next((uri for uri in mirrors() if "security" in uri), None)


def mirrors() -> Iterator[str]:
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return (uri for uri, component in map(str.split, lines) if component == "main")


def ensure_rootfs(name: str) -> None:
    rootfs, image = ROOTFS[name], f"kmuctl-lab/{name}"
    if present([image]).get(image) == rootfs.recipe:
        return
    tarball = Path(os.environ.get("KMU_LAB_CACHE", "/var/cache/kmuctl-lab")) / f"{rootfs.recipe}.tar"
    if not tarball.exists():
        debootstrap(rootfs, tarball)
    run("docker", "import", "--change", f'LABEL {LABEL}="{rootfs.recipe}"', str(tarball), image)


def debootstrap(rootfs: Rootfs, tarball: Path) -> None:
    say(f"debootstrap of Debian {rootfs.suite}, about half a minute")
    tarball.parent.mkdir(parents=True, exist_ok=True)
    include = [f"--include={','.join(rootfs.packages)}"] if rootfs.packages else []
    with tempfile.TemporaryDirectory(dir=tarball.parent) as folder:
        tree, partial = Path(folder, "tree"), Path(folder, tarball.name)
        run("debootstrap", "--variant=minbase", *include, rootfs.suite, str(tree), mirror())
        excluded = [f"--exclude={pattern}" for pattern in NOT_PACKED]
        run("tar", "-C", str(tree), *excluded, "-cf", str(partial), ".")
        partial.rename(tarball)
