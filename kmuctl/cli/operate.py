"""What runs: `status`, `logs`, `exec`, the products' own tools, `login-link`, `dns`."""

from __future__ import annotations

from typing import Annotated

import typer

from kmuctl.cli.program import DIFFERENCES, command, hands_on
from kmuctl.entry import Globals


@command
def status(known: Globals) -> None:
    """Show every container and how it is; exit 3 when one is not well."""
    from kmuctl.commands.operate import show_status

    if not show_status(known.console, known.stack()):
        raise typer.Exit(DIFFERENCES)


@command
def logs(
    known: Globals,
    name: Annotated[str, typer.Argument(metavar="SERVICE|CONTAINER")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="All containers of the service, not the one of its name.")
    ] = False,
) -> None:
    """Show the last log lines of a container, or of all containers of a service."""
    from kmuctl.commands.operate import follow_logs, show_logs

    if follow:
        raise typer.Exit(follow_logs(known.console, known.stack(), name, lines, whole=whole))
    show_logs(known.console, known.stack(), name, lines, whole=whole)


@command
def exec_(
    known: Globals,
    name: Annotated[str, typer.Argument(metavar="CONTAINER")],
    arguments: Annotated[list[str], typer.Argument(metavar="COMMAND...")],
) -> None:
    """Run a command in a container; put `--` before it."""
    from kmuctl.commands.operate import execute

    raise typer.Exit(execute(known.console, known.stack(), name, arguments))


@hands_on
def occ(
    known: Globals,
    arguments: Annotated[list[str], typer.Argument(metavar="ARGS...")],
) -> None:
    """Run Nextcloud's occ; kmuctl's own options come before its words."""
    from kmuctl.commands.operate import execute
    from kmuctl.operations.nextcloud.occ import CONTAINER, OCC

    raise typer.Exit(execute(known.console, known.stack(), CONTAINER, [*OCC, *arguments]))


@hands_on
def stalwart_cli(
    known: Globals,
    arguments: Annotated[list[str], typer.Argument(metavar="ARGS...")],
) -> None:
    """Run Stalwart's own tool, signed in as kmuctl; kmuctl's own options come before its words."""
    from kmuctl.commands.operate import run_stalwart_cli

    raise typer.Exit(run_stalwart_cli(known.stack(), arguments))


@command
def login_link(
    known: Globals,
    user: Annotated[str, typer.Argument(help="Sign-on name; the first admin's unless given.")] = "",
) -> None:
    """Make a link that signs a person in once, without a password: the first time, or when locked out."""
    from kmuctl.commands.operate import show_login_link

    show_login_link(known.console, known.stack(), user)


@command
def dns(
    known: Globals,
    format_: Annotated[str, typer.Option("--format", metavar="FORMAT", help="table, zone (BIND) or json.")] = "",
) -> None:
    """Show every DNS record that the site needs, DKIM too once mail runs, and what reverse DNS must say."""
    from kmuctl.commands import dns as command_

    command_.require_format(known.console, format_)
    command_.run(known.console, known.stack(), format_)
