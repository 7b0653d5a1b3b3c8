"""Settings of the kernel and of the system's own programs, each a file of ours with a reason for every line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from kmuctl.model.host import Host, Reader
from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.harden.dropins import Command, dropin_step, rendered, run
from kmuctl.operations.harden.units import loaded_before
from kmuctl.operations.timers import systemctl

SYSCTL = "/etc/sysctl.d/99-z-kmuctl.conf"
FLOOR = "/etc/sysctl.d/10-kmuctl.conf"
"""The least: a later file, the admin's for instance, may ask for more."""
JOURNALD = "/etc/systemd/journald.conf.d/kmuctl.conf"
MODULES = "/etc/modprobe.d/kmuctl.conf"
CORES = {
    "/etc/security/limits.d/kmuctl.conf": "system/limits.conf",  # whoever signs in
    "/etc/systemd/coredump.conf.d/kmuctl.conf": "system/coredump.conf",  # services, where systemd collects them
    "/etc/profile.d/kmuctl-cores.sh": "system/cores.sh",  # shells that no session of PAM began
}
APPORT = "apport.service"
AUDIT = "/etc/audit/rules.d/kmuctl.rules"
AUDITED = {"/etc/docker": 0o755, "/etc/ufw": 0o755, "/root/.ssh": 0o700, "/etc/sudoers.d": 0o750}
"""Folders that may come later, when the kernel would take the rule for one about a single file."""
ISSUES = ("/etc/issue", "/etc/issue.net")
SYSSTAT = ("systemctl", "enable", "--now", "sysstat.service")
LISTCHANGES = "/etc/apt/listchanges.conf.d/kmuctl.conf"
HASHING = ("SHA_CRYPT_MIN_ROUNDS 65536", "SHA_CRYPT_MAX_ROUNDS 65536", "YESCRYPT_COST_FACTOR 8")
"""A stolen hash takes eight times as long to guess; a sign-in still takes less than a second."""
REPLACED = (b"Debian", b"Ubuntu", b"Private system of ")


def steps(stack: Stack, machine: Machine, *, after: tuple[str, ...]) -> Iterator[Step]:
    if machine.distribution == "ubuntu":
        yield _apport_step()
    yield _sysctl_step(machine, after=after)
    yield dropin_step("system:modules", {MODULES: rendered("system/modules.conf", machine=machine)})
    yield _journal_step()
    yield dropin_step("system:cores", {path: rendered(template) for path, template in CORES.items()})
    yield _banner_step(rendered("system/issue", name=stack.site.name))
    yield _lines_step("system:sysstat", "/etc/default/sysstat", 'ENABLED="true"', load=(SYSSTAT,), after=after)
    yield _lines_step("system:debsums", "/etc/default/debsums", "CRON_CHECK=weekly", after=after)
    yield dropin_step("system:listchanges", {LISTCHANGES: rendered("system/listchanges.conf")}, after=after)
    yield _lines_step("system:passwords", "/etc/login.defs", *HASHING, after=after)
    if not machine.container:
        yield _audit_step(after=after)


def _sysctl_step(machine: Machine, *, after: tuple[str, ...]) -> Step:
    """A container may set only some: those of its host count, and are told."""
    contents = {SYSCTL: rendered("system/sysctl.conf"), FLOOR: rendered("system/floor.conf")}
    exact, least = (values(content.decode()) for content in contents.values())

    def below(host: Reader) -> list[str]:
        present = values(host.query(("sysctl", "-e", *least)).stdout)
        return [key for key, value in least.items() if int(present.get(key, value)) < int(value)]

    def in_force(host: Reader) -> Drift | None:
        present = values(host.query(("sysctl", "-e", *exact)).stdout)
        other = [key for key, value in exact.items() if present.get(key, value) != value] + below(host)
        if not other:
            return None
        where = "its host decides here" if machine.container else "not in force"
        return Drift(f"{where}: {few(other)}", tolerable=machine.container)

    step = dropin_step("system:sysctl", contents, in_force=in_force, after=after)

    def apply(host: Host) -> None:
        """`-e`: what this kernel does not have is none of ours to set."""
        step.apply(host)
        load = host.run if machine.container else lambda command: run(host, *command)
        for path in (SYSCTL, FLOOR) if below(host) else (SYSCTL,):
            load(("sysctl", "-e", "-q", "-p", path))

    return replace(step, apply=apply, hint="`sysctl --system` shows which file sets what; the last one counts")


def _apport_step() -> Step:
    """Ubuntu's reporter of crashes: at each start it has memory of programs with privileges written, and for itself."""

    def check(host: Reader) -> Drift | None:
        asked = [host.query(("systemctl", question, APPORT)).stdout.strip() for question in ("is-enabled", "is-active")]
        return Drift("it keeps memory of programs that crash") if {"enabled", "active"} & {*asked} else None

    def apply(host: Host) -> None:
        """Masked, because an update of its package switches it on again."""
        systemctl(host, "mask", "--now", APPORT)

    return Step(name="system:apport", check=check, apply=apply)


def values(text: str) -> dict[str, str]:
    """`key = value` lines, as sysctl.d(5) has them and sysctl(8) prints them."""
    lines = (line for line in text.splitlines() if "=" in line and not line.startswith("#"))
    pairs = (line.split("=", 1) for line in lines)
    return {key.strip(): " ".join(value.split()) for key, value in pairs}


def _journal_step() -> Step:
    def in_force(host: Reader) -> Drift | None:
        outdated = loaded_before(host, "systemd-journald.service", JOURNALD)
        return Drift("the journal has not read its settings yet") if outdated else None

    return dropin_step(
        "system:journal", {JOURNALD: rendered("system/journald.conf")}, in_force=in_force,
        load=(("systemctl", "restart", "systemd-journald.service"),),
    )  # fmt: skip


def _banner_step(text: bytes) -> Step:
    """In place of the distribution's own word or of ours; what the admin wrote stays."""

    def wrong(host: Reader) -> list[str]:
        present = {path: host.read(path) or b"" for path in ISSUES}
        return [path for path, said in present.items() if said != text and (not said or said.startswith(REPLACED))]

    def check(host: Reader) -> Drift | None:
        found = wrong(host)
        return Drift(f"to write: {few(found)}") if found else None

    def apply(host: Host) -> None:
        for path in wrong(host):
            host.write(path, text)

    return Step(name="system:banner", check=check, apply=apply)


def _lines_step(name: str, path: str, *lines: str, load: tuple[Command, ...] = (), after: tuple[str, ...]) -> Step:
    """These assignments in a package's own file, whose other lines stay."""
    keys = {_key(line) for line in lines}

    def present(host: Reader) -> list[str]:
        return (host.read(path) or b"").decode(errors="replace").splitlines()

    def check(host: Reader) -> Drift | None:
        missing = [line for line in lines if line not in present(host)]
        return Drift(f"to set in {path}: {few(missing)}") if missing else None

    def apply(host: Host) -> None:
        others = [line for line in present(host) if _key(line) not in keys]
        host.write(path, "\n".join([*others, *lines, ""]).encode())
        for command in load:
            run(host, *command)

    return Step(name=name, check=check, apply=apply, after=after)


def _key(line: str) -> str:
    return re.split(r"[=\s]", line, maxsplit=1)[0]


def _audit_step(*, after: tuple[str, ...]) -> Step:
    def in_force(host: Reader) -> Drift | None:
        shown = host.query(("auditctl", "-l")).stdout
        return (
            None if "-k accounts" in shown or "key=accounts" in shown else Drift("the kernel does not have its rules")
        )

    step = dropin_step(
        "system:audit", {AUDIT: rendered("system/audit.rules")}, in_force=in_force,
        load=(("augenrules", "--load"),), after=after,
    )  # fmt: skip

    def apply(host: Host) -> None:
        present = host.facts(AUDITED)
        for path in (path for path in AUDITED if path not in present):
            host.make_folder(path, mode=AUDITED[path], uid=0)
        step.apply(host)

    return replace(step, apply=apply)
