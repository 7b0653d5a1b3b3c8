"""Swap on small machines: without it, one hungry program has another one killed."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.host import Host, Reader
from kmuctl.model.machine import Machine
from kmuctl.model.step import Drift, Step
from kmuctl.operations.harden.dropins import run
from kmuctl.operations.harden.written import exists
from kmuctl.operations.preflight import free_disk

SMALL, SIZE, SPARE = 4096, 2048, 2048
"""MiB: below so much memory; so much swap; so much stays free on the disk."""
PATH, FSTAB = "/swapfile", "/etc/fstab"
LINE = f"{PATH} none swap sw 0 0"
FITTING = ("ext4", "ext3", "xfs")
"""Others share or compress blocks, which swap files cannot stand."""


def steps(machine: Machine) -> Iterator[Step]:
    if 0 < machine.memory < SMALL:
        yield Step(name="system:swap", check=_check, apply=_apply)


def _check(host: Reader) -> Drift | None:
    active = (host.read("/proc/swaps") or b"").decode().splitlines()[1:]
    if any(not line.startswith(PATH) for line in active):
        return None
    if active and LINE in _fstab(host):
        return None
    if reason := _unfit(host):
        return Drift(f"no swap on this small machine: {reason}", tolerable=True)
    return Drift(f"no swap on this small machine: to make {SIZE} MiB")


def _unfit(host: Reader) -> str:
    kind = host.query(("findmnt", "--noheadings", "--output", "FSTYPE", "--target", "/")).stdout.strip()
    if kind not in FITTING:
        return f"no swap file lives on {kind or 'this file system'}"
    _, free = free_disk(host, "/")
    return f"only {free} MiB are free on the disk" if free < SIZE + SPARE and not exists(host, PATH) else ""


def _apply(host: Host) -> None:
    """Beside it first: a file that was cut off is not taken for whole."""
    beside = f"{PATH}.new"
    if not exists(host, PATH):
        host.remove(beside)
        run(host, "fallocate", "--length", f"{SIZE}MiB", beside)
        run(host, "chmod", "600", beside)
        run(host, "mkswap", beside)
        run(host, "mv", beside, PATH)
    if PATH not in (host.read("/proc/swaps") or b"").decode():
        run(host, "swapon", PATH)
    if LINE not in (lines := _fstab(host)):
        host.write(FSTAB, "\n".join([*lines, LINE, ""]).encode())


def _fstab(host: Reader) -> list[str]:
    return (host.read(FSTAB) or b"").decode(errors="replace").splitlines()
