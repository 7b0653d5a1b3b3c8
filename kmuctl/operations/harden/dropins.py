"""Files of ours among a program's settings, and how it gets to know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.harden.templates import fill
from kmuctl.operations.harden.written import differing

Command = tuple[str, ...]


def rendered(template: str, **known: Any) -> bytes:
    return fill(template, **known).encode()


def dropin_step(
    name: str,
    contents: Mapping[str, bytes],
    *,
    load: tuple[Command, ...] = (),
    in_force: Callable[[Reader], Drift | None] = lambda host: None,
    after: tuple[str, ...] = (),
    hint: str = "",
) -> Step:
    """These files are there, and count: `in_force` asks the program, where it can be asked."""

    def check(host: Reader) -> Drift | None:
        if wrong := differing(host, contents):
            return Drift(f"to write: {few(wrong)}")
        return in_force(host)

    def apply(host: Host) -> None:
        for path in differing(host, contents):
            host.write(path, contents[path])
        for command in load:
            run(host, *command)

    return Step(name=name, check=check, apply=apply, after=after, hint=hint)


def run(host: Host, *command: str) -> None:
    answer = host.run(command)
    if answer.code:
        raise StepFailed(f"`{' '.join(command)}` failed: {answer.reason}")
