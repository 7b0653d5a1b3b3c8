"""Files of ours among a program's settings, and how it gets to know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from kmuctl import assets
from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.files import wrong_files
from kmuctl.operations.render import File

TEMPLATES = "templates/harden"
Command = tuple[str, ...]


def rendered(template: str, **known: Any) -> bytes:
    """One of our templates for /etc; plain text, so nothing in it is escaped."""
    environment = Environment(  # noqa: S701 (no HTML)
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(assets.sources()[f"{TEMPLATES}/{template}.j2"]).render(known).encode()


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
    files = {path: File(content, "", 0o644, 0) for path, content in contents.items()}

    def check(host: Reader) -> Drift | None:
        if wrong := wrong_files(host, files):
            return Drift(f"to write: {few(wrong)}")
        return in_force(host)

    def apply(host: Host) -> None:
        host.write_all({path: files[path] for path in wrong_files(host, files)})
        for command in load:
            run(host, *command)

    return Step(name=name, check=check, apply=apply, after=after, hint=hint)


def run(host: Host, *command: str) -> None:
    answer = host.run(command)
    if answer.code:
        raise StepFailed(f"`{' '.join(command)}` failed: {answer.reason}")
