"""The root file system that all lab images stand on, from the mirror that apt already uses."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests.lab.builder.engine import LABEL, LabError, present, run, say

IMAGE = "kmuctl-lab/rootfs:trixie"
RECIPE = "trixie-minbase-2"  # count up when debootstrap() changes
NOT_PACKED = ("./var/cache/apt/*", "./var/lib/apt/lists/*")


def mirror() -> str:
    """The Debian mirror that apt on this machine already uses."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [uri for uri, component in map(str.split, lines) if component == "main" and "security" not in uri]
    if not found:
        raise LabError("apt on this machine has no Debian mirror to derive from; see apt-get indextargets")
    return found[0]


def ensure_rootfs() -> None:
    if present([IMAGE]).get(IMAGE) == RECIPE:
        return
    tarball = Path(os.environ.get("KMU_LAB_CACHE", "/var/cache/kmuctl-lab")) / f"{RECIPE}.tar"
    if not tarball.exists():
        debootstrap(tarball)
    run("docker", "import", "--change", f'LABEL {LABEL}="{RECIPE}"', str(tarball), IMAGE)


def debootstrap(tarball: Path) -> None:
    say("debootstrap of Debian trixie, about half a minute")
    tarball.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tarball.parent) as folder:
        tree, partial = Path(folder, "tree"), Path(folder, tarball.name)
        run("debootstrap", "--variant=minbase", "trixie", str(tree), mirror())
        excluded = [f"--exclude={pattern}" for pattern in NOT_PACKED]
        run("tar", "-C", str(tree), *excluded, "-cf", str(partial), ".")
        partial.rename(tarball)
