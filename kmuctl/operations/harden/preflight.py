"""Is this a machine that `harden` knows? Asked before anything is changed; all problems at once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from time import time

from kmuctl.model.errors import HostError
from kmuctl.model.host import Reader
from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.operations.harden import undo
from kmuctl.operations.harden.firewalls import other_firewalls
from kmuctl.operations.preflight import Problem, free_disk, memory
from kmuctl.operations.timers import has_systemd

CODENAMES = {
    ("debian", "12"): "bookworm", ("debian", "13"): "trixie",
    ("ubuntu", "22.04"): "jammy", ("ubuntu", "24.04"): "noble", ("ubuntu", "26.04"): "resolute",
}  # fmt: skip
ARCHITECTURES = ("amd64", "arm64")
KNOWN = "Debian 12 and 13, Ubuntu 22.04, 24.04 and 26.04"
NEEDED_DISK = 2048
CLOCK_SECONDS = 60
WRITTEN = ("/etc", "/usr", "/var")
"""Where packages and settings go."""


def examine(host: Reader) -> Machine:
    """The machine's kind. Raises HostError where even that cannot be seen."""
    release = _release(host)
    architecture = host.query(("dpkg", "--print-architecture"))
    if architecture.code:
        raise HostError(f"no dpkg on this machine: kmuctl hardens {KNOWN}", hint="take a server with one of them")
    return Machine(
        distribution=release.get("ID", "unknown"),
        version=release.get("VERSION_ID", ""),
        codename=release.get("VERSION_CODENAME", ""),
        architecture=architecture.stdout.strip(),
        memory=memory(host),
        virtualization=host.query(("systemd-detect-virt",)).stdout.strip().replace("none", ""),
    )


def _release(host: Reader) -> dict[str, str]:
    """os-release(5): assignments as a shell reads them."""
    text = host.read("/etc/os-release") or host.read("/usr/lib/os-release") or b""
    pairs = (line.split("=", 1) for line in text.decode(errors="replace").splitlines() if "=" in line)
    return {key: " ".join(shlex.split(value)) for key, value in pairs}


def preflight(stack: Stack, host: Reader, machine: Machine, *, force: bool = False) -> list[str]:
    """Warnings. Raises HostError with everything that stands in the way."""
    if host.query(("id", "-u")).stdout.strip() != "0":
        raise HostError("`kmuctl harden` needs root here: it installs packages and writes to /etc", hint="use sudo")
    faults = [*(() if force else _unknown(machine)), *_unfit(host), *_taken(stack, host)]
    if faults:
        text = "\n".join(["this machine is not ready:", *(f"  {line}" for line, _ in faults)])
        raise HostError(text, hint="; ".join(dict.fromkeys(hint for _, hint in faults)))
    return [*_warnings(stack, host, machine)]


def _unknown(machine: Machine) -> Iterator[Problem]:
    wanted = CODENAMES.get((machine.distribution, machine.version))
    if wanted is None:
        yield f"it runs {machine}; kmuctl knows {KNOWN}", "take one of these, or try `kmuctl harden --force`"
    elif machine.codename != wanted:
        named = f"`{machine.codename}`, not `{wanted}`"
        yield f"it says that it is {machine}, with the codename {named}", "mend /etc/os-release, or use --force"
    if machine.architecture not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        yield f"its architecture is {machine.architecture}; the images exist for {known}", "take another server"


def _unfit(host: Reader) -> Iterator[Problem]:
    if not has_systemd(host):
        yield "systemd does not run here", "take a server that boots with systemd"
    for folder in WRITTEN:
        if host.query(("test", "-w", folder)).code:
            yield f"`{folder}` cannot be written: the file system is read-only", "`dmesg` says why"
    found = dict(free_disk(host, folder) for folder in WRITTEN)
    for mount, free in found.items():
        if free < NEEDED_DISK:
            yield f"{free} MiB free on the disk of `{mount}`: {NEEDED_DISK} MiB are needed", "free some space"


def _taken(stack: Stack, host: Reader) -> Iterator[Problem]:
    """What others have set up, and would be in each other's way with ours."""
    wanted = stack.site.harden
    if wanted.docker and host.facts(["/snap/docker"]):
        yield (
            "Docker is installed as a snap, which cannot reach the site's folder",
            "save what its containers hold, `snap remove docker`, then `kmuctl harden` installs Docker's packages",
        )
    if wanted.firewall:
        hint = "switch it off, or leave the firewall to it: `firewall = false` under [harden] in kmu.toml"
        yield from ((found, hint) for found in other_firewalls(host))
    if (wanted.firewall or wanted.docker) and not _filters(host):
        yield (
            "the kernel lets nobody filter packets here (`iptables -L -n` fails), as in some containers of providers",
            "take a virtual machine (KVM) instead",
        )


def _filters(host: Reader) -> bool:
    """True too where nothing is installed yet that could be asked."""
    return host.query(("iptables", "-L", "-n")).code in (0, 127)


def _warnings(stack: Stack, host: Reader, machine: Machine) -> Iterator[str]:
    if machine.container:
        yield f"this is a container ({machine.virtualization}): what belongs to its host's kernel cannot be set here"
    if 0 < machine.memory < stack.memory() // 2:
        yield f"{machine.memory} MiB of memory: too little for `kmuctl up`, whose apps may use {stack.memory()} MiB"
    off = time() - host.now()
    if abs(off) > CLOCK_SECONDS:
        yield f"its clock is {abs(off):.0f} s {'behind' if off > 0 else 'ahead of'} ours"
    for name in (name for name in undo.NAMES if getattr(stack.site.harden, name)):
        if struck := undo.undone(host, name):
            yield f"the last change of {name} was undone at {struck}: nobody had confirmed it"
