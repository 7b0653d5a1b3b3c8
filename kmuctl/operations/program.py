"""kmuctl on a server that is worked on from elsewhere: its timers call it there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from kmuctl import __version__
from kmuctl.model.errors import KmuError, StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.wheel import NAME, constraints, wheel

FOLDER = "/usr/local/lib/kmuctl"
"""Of ours on a server; other files of ours are in it too."""
VERSIONS, PROGRAM = f"{FOLDER}/versions", f"{FOLDER}/kmuctl"
"""The second is a link to the first's present one: what timers call. Nobody else's name, so nobody else changes it."""
COMMAND = "/usr/local/bin/kmuctl"
"""A link for people, where nothing else has that name."""
CONSTRAINTS = "constraints.txt"
FIT = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))"
STEP = "program"


def on_server(stack: Stack) -> bool:
    """Whether another machine than this one is the host."""
    return stack.site.host.address != "local"


def program_of(stack: Stack) -> tuple[str, ...]:
    """The kmuctl that the host's timers call, as a program that needs no PATH."""
    return (PROGRAM,) if on_server(stack) else own_program()


def own_program() -> tuple[str, ...]:
    """The kmuctl that runs now. A link to it stays one: it survives an update."""
    started = Path(sys.argv[0]).absolute()
    if started.resolve().is_relative_to(VERSIONS):
        return (PROGRAM,)
    return (sys.executable, "-m", "kmuctl") if started.name == "__main__.py" else (str(started),)


def program_steps(stack: Stack) -> Iterator[Step]:
    if on_server(stack):
        yield program_step()


def program_step() -> Step:
    """This very kmuctl is installed there, in an environment of its own; others are gone."""
    folder = f"{VERSIONS}/{__version__}-{sha256(wheel()).hexdigest()[:12]}"

    def check(host: Reader) -> Drift | None:
        present = host.query(("readlink", "-e", PROGRAM)).stdout.strip()
        if present == f"{folder}/bin/kmuctl":
            return Drift(f"to link it as {COMMAND}") if _is_free(host, COMMAND) else None
        if reason := unfit(host):
            return Drift(_without(reason), tolerable=True)
        return Drift("another kmuctl is there" if present else "to install")

    def apply(host: Host) -> None:
        if host.query(("readlink", "-e", PROGRAM)).stdout.strip() != f"{folder}/bin/kmuctl":
            _install(host, folder)
        _run(host, "ln", "-sfT", f"{folder}/bin/kmuctl", PROGRAM)
        if _is_free(host, COMMAND):
            _run(host, "ln", "-sT", PROGRAM, COMMAND)
        for other in _below(host, VERSIONS):
            if other != folder:
                host.remove(other)

    hint = "the server needs a way to a Python package index: `pip download kmuctl` there says more"
    return Step(name=STEP, check=check, apply=apply, hint=hint)


def unfit(host: Reader) -> str:
    """Why kmuctl cannot run there; empty when it can."""
    answer = host.query(("python3", "-c", FIT))
    if answer.code == 0:
        return ""
    version = answer.stdout.strip()
    if answer.code == 127:
        return "it has no Python"
    return f"it has Python {version}, and 3.11 is needed" if version else "its Python has no `venv`"


def _without(reason: str) -> str:
    """What is missing then, and what to do about it."""
    mend = (
        "have cron here run `kmuctl certs sync` every hour"
        if "needed" in reason
        else "`apt install python3-venv` there, and run `kmuctl up` again"
    )
    return f"kmuctl cannot run on the server ({reason}), so nothing renews the certificates of mail and calls: {mend}"


def _install(host: Host, folder: str) -> None:
    """Anew: what an interrupted run left may be half of one. The link to it comes last."""
    host.remove(folder)
    try:
        host.write(f"{folder}/{NAME}", wheel())
        _run(host, "python3", "-m", "venv", folder)
        host.write(f"{folder}/{CONSTRAINTS}", constraints())
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
        _run(host, f"{folder}/bin/python", *pip, "--constraint", f"{folder}/{CONSTRAINTS}", f"{folder}/{NAME}")
    except KmuError:
        with suppress(KmuError):
            host.remove(folder)
        raise


def _run(host: Host, *command: str) -> None:
    answer = host.run(command)
    if answer.code:
        raise StepFailed(f"`{command[0]}` cannot put kmuctl on the server: {answer.reason}")


def _is_free(host: Reader, path: str) -> bool:
    """Not even a link that leads nowhere has that name."""
    return host.query(("find", path, "-maxdepth", "0")).code != 0


def _below(host: Reader, folder: str) -> list[str]:
    answer = host.query(("find", folder, "-mindepth", "1", "-maxdepth", "1", "-print0"))
    return [path for path in answer.stdout.split("\0") if path]


def installed(stack: Stack, host: Reader) -> list[str]:
    """Paths of ours on a server; what `kmuctl harden` keeps in the same folder is none of them."""
    if not on_server(stack):
        return []
    there = _below(host, FOLDER)
    own = [path for path in there if path in (VERSIONS, PROGRAM)]
    if own == there and own:
        own = [FOLDER]
    if host.query(("readlink", COMMAND)).stdout.strip() == PROGRAM:
        own.append(COMMAND)
    return sorted(own)
