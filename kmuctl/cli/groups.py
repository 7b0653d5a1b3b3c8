"""Commands with a noun before them: `certs sync`, `secrets list`, `secrets rotate`."""

from __future__ import annotations

from typing import Annotated

import typer

from kmuctl.cli.program import FAILED, app
from kmuctl.entry import Globals, guarded

certs = typer.Typer(help="The certificates of mail and calls.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(certs, name="certs")

secrets = typer.Typer(help="What only this site knows.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(secrets, name="secrets")


@certs.command()
@guarded
def sync(known: Globals) -> None:
    """Hand the certificates that Caddy renewed to mail and calls; a timer does it every hour."""
    from kmuctl.commands.certs import run as synchronize

    if not synchronize(known.console, known.stack()):
        raise typer.Exit(FAILED)


@secrets.command("list")
@guarded
def list_(known: Globals) -> None:
    """Show every secret and which services read it; no values."""
    from kmuctl.commands.secrets import show

    show(known.console, known.stack())


@secrets.command()
@guarded
def rotate(
    known: Globals, names: Annotated[list[str], typer.Argument(metavar="NAME...", help="As `secrets list` shows them.")]
) -> None:
    """Give secrets a new value, on both sides; services that read one restart."""
    from kmuctl.commands.secrets import rotate as rotate_

    if not rotate_(known.console, known.stack(), known.site, [name.lower() for name in names]):
        raise typer.Exit(FAILED)
