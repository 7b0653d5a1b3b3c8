"""What every command shares: errors as text or JSON, the exit codes, the streams of the process."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from kmuctl.model.errors import INTERRUPTED, ConfigError, KmuError

if TYPE_CHECKING:
    from kmuctl.console import Console
    from kmuctl.model.stack import Stack

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Also show what is already right.")]


@dataclass(frozen=True)
class Globals:
    site: Path
    console: Console
    host: str = ""
    """Instead of the site file's host.address."""
    accept_new_host_key: bool = False

    def stack(self) -> Stack:
        from kmuctl.commands.host import accepting
        from kmuctl.model.site import load_site, with_address
        from kmuctl.services import NAMES, stack_of

        accepting.set(self.accept_new_host_key)
        site = load_site(self.site, NAMES)
        return stack_of(with_address(site, self.host) if self.host else site)


class Group(TyperGroup):
    """Says a usage error as JSON where `--json` was given, before or after the subcommand."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        if "--json" not in takewhile(lambda word: word != "--", words):
            return super().main(words, *more, **options)
        try:
            code = super().main(words, *more, **options | {"standalone_mode": False})
        except TyperException as error:
            code = error.exit_code
            _fail_as_json(error.format_message())
        sys.exit(code)


def _fail_as_json(message: str) -> None:
    from kmuctl.console import Console

    hint = "`kmuctl --help` lists the commands, `kmuctl COMMAND --help` what one takes"
    Console(as_json=True).fail(ConfigError(message, hint=hint))


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """A subcommand's function: takes --json and -v too, and shows foreseeable errors without a traceback."""

    @functools.wraps(function)
    def guard(ctx: typer.Context, *args: Any, json: bool, verbose: bool, **options: Any) -> None:
        known: Globals = ctx.obj
        known.console.as_json |= json
        known.console.verbose |= verbose
        try:
            function(known, *args, **options)
        except KmuError as error:
            known.console.fail(error)
            raise typer.Exit(error.exit_code) from None
        except (KeyboardInterrupt, typer.Abort):
            known.console.interrupted()
            raise typer.Exit(INTERRUPTED) from None

    signature = inspect.signature(function, eval_str=True)
    _, *own = signature.parameters.values()
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("json", JsonOption), ("verbose", VerboseOption))
    ]
    guard.__signature__ = signature.replace(parameters=[context, *own, *shared])  # type: ignore[attr-defined]
    guard.__annotations__ = {p.name: p.annotation for p in (context, *own, *shared)}
    return guard


def run(app: Callable[[], None]) -> None:
    """The whole program, with what the shell around it may have closed or narrowed."""
    os.umask(0o022)  # root's own may be 077: then nobody else could reach the folders that containers read
    _open_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # the reader (`| head`) has seen enough; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _open_streams() -> None:
    """One that the caller closed (`>&-`) is as /dev/null; a character that a terminal does not know stops nothing."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (open to the end)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
