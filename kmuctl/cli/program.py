"""The program itself, what stands before every subcommand, and how one is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from kmuctl import SITE_FILE
from kmuctl.entry import Globals, Group, JsonOption, VerboseOption, guarded

OK, FAILED, DIFFERENCES = 0, 1, 3
EXIT_CODES = (
    "Exit codes: 0 fine, 1 failed, 2 usage or site file, 3 findings or differences, "
    "4 another kmuctl holds the lock, 130 interrupted."
)
HOST_SITE = Path("/opt/kmu", SITE_FILE)


# Plain help: rich's boxes cost twice as much time as everything else that `--help` does.
app = typer.Typer(
    name="kmuctl", cls=Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A small company's own collaboration server, from one site file.", epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def default_site() -> Path:
    """`kmu.toml` here, else the one of this machine."""
    here = Path(SITE_FILE)
    return HOST_SITE if not _is_there(here) and _is_there(HOST_SITE) else here


def _is_there(path: Path) -> bool:
    """A file that may not even be looked at counts: reading it says why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


SiteOption = Annotated[
    Path | None,
    typer.Option(
        "--site", metavar="FILE", envvar="KMUCTL_SITE", help="The site file: ./kmu.toml, else /opt/kmu/kmu.toml."
    ),
]


@app.callback(invoke_without_command=True)
def globals_(
    ctx: typer.Context,
    site: SiteOption = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="local or ssh://[USER@]SERVER[:PORT], not the site file's.")
    ] = "",
    accept_new_host_key: Annotated[
        bool, typer.Option("--accept-new-host-key", help="Trust a server that is not known yet, without a question.")
    ] = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    from kmuctl.console import Console

    console = Console(as_json=json, verbose=verbose)
    if version:
        from kmuctl import __version__

        console.result(__version__, {"version": __version__})
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")
    ctx.obj = Globals(site or default_site(), console, host, accept_new_host_key)


def command(function: Callable[..., None], **settings: Any) -> Callable[..., None]:
    return app.command(name=function.__name__.rstrip("_").replace("_", "-"), **settings)(guarded(function))


def hands_on(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose words, from the first on, are another program's."""
    return command(function, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})


YesOption = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]
