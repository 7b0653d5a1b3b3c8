"""The command line: parse, call an operation, let the console print, end with the documented code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from kmuctl import SITE_FILE
from kmuctl.entry import Globals, Group, JsonOption, VerboseOption, guarded, run
from kmuctl.model.errors import ConfigError

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
    ctx.obj = Globals(site or default_site(), console)


def command(function: Callable[..., None], **settings: Any) -> Callable[..., None]:
    return app.command(name=function.__name__.rstrip("_").replace("_", "-"), **settings)(guarded(function))


def hands_on(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose words, from the first on, are another program's."""
    return command(function, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})


certs = typer.Typer(help="The certificates of mail and calls.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(certs, name="certs")

secrets = typer.Typer(help="What only this site knows.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(secrets, name="secrets")


YesOption = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


@command
def init(
    known: Globals,
    directory: Annotated[Path, typer.Option(help="Where to write kmu.toml.")] = Path(),
    domain: Annotated[str, typer.Option(help="Domain of the company, like acme.example.")] = "",
    name: Annotated[str, typer.Option(help="Name of the company.")] = "",
    admin_user: Annotated[str, typer.Option(help="Sign-on name of the first admin.")] = "",
    admin_name: Annotated[str, typer.Option(help="Full name of the first admin.")] = "",
    admin_email: Annotated[str, typer.Option(help="Mail address of the first admin.")] = "",
    host: Annotated[str, typer.Option(help='Where it will run: "local", or ssh://USER@ADDRESS.')] = "local",
    ipv4: Annotated[str, typer.Option("--ipv4", help="Public IPv4 address; this machine's own unless given.")] = "",
    folder: Annotated[str, typer.Option(help="Folder on the host for everything.")] = "/opt/kmu",
    tls: Annotated[str, typer.Option(help="acme, internal or off; for files of your own edit kmu.toml.")] = "",
    language: Annotated[str, typer.Option(help="Language of the pages, like de.")] = "de",
    timezone: Annotated[str, typer.Option(help="Like Europe/Berlin.")] = "Europe/Berlin",
    trial: Annotated[bool, typer.Option("--trial", help="Try it on a laptop: kmu.test, with a CA of its own.")] = False,
    yes: YesOption = False,
) -> None:
    """Make a site file: questions on a terminal, options elsewhere."""
    from kmuctl.commands.init import run as make

    given = {
        "domain": domain, "name": name, "admin.username": admin_user, "admin.name": admin_name,
        "admin.email": admin_email, "host.ipv4": ipv4, "tls.mode": tls,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value}
    given |= {"host.address": host, "host.folder": folder, "language": language, "timezone": timezone}
    ask = known.console.interactive and not yes
    if make(known.console, directory, given, trial=trial, ask=ask):
        bring_up(Globals(directory / SITE_FILE, known.console))


@command
def render(
    known: Globals,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The folder to write, or to compare with: rendered."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 3 when DIR, or GIT_REF, differs.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change in DIR.")] = False,
    against: Annotated[
        str, typer.Option(metavar="GIT_REF", help="Compare with the site file of another revision.")
    ] = "",
    format_: Annotated[str, typer.Option("--format", help="Of a comparison: diff or markdown.")] = "",
) -> None:
    """Write every configuration file, with placeholders for secrets. Needs no host, no network, no clock."""
    from kmuctl.commands import render as command_

    folder = output or Path("rendered")
    _refuse_unused(output, against, format_, compares=check or diff or bool(against), diff=diff)
    if against:
        differs = command_.against(known.console, known.site, against, format_)
    elif check or diff:
        differs = command_.compare(known.console, known.site, folder, format_)
    else:
        differs = command_.write(known.console, known.site, folder)
    if check and differs:
        raise typer.Exit(DIFFERENCES)


def _refuse_unused(output: Path | None, against: str, format_: str, *, compares: bool, diff: bool) -> None:
    """An option that would say nothing is a mistake that nobody would notice."""
    if format_ not in ("", "diff", "markdown"):
        raise ConfigError(f"--format: `{format_}` is unknown", hint="`diff` or `markdown`")
    if format_ and not compares:
        raise ConfigError("--format: a plain `render` shows no difference", hint="add --diff, --check or --against")
    if against and (output or diff):
        one = "--output" if output else "--diff"
        raise ConfigError(f"{one} compares with a folder, --against with a revision", hint="leave one of the two out")


@command
def up(
    known: Globals,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and why.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: exit 3 when something would change.")
    ] = False,
    only: Annotated[str, typer.Option(metavar="SERVICE", help="One service, with what it needs.")] = "",
    pull: Annotated[bool, typer.Option("--pull", help="Fetch every pinned image again first.")] = False,
) -> None:
    """Make this machine match the site; a second run changes nothing."""
    if exit_code and not dry_run:
        raise ConfigError("--exit-code: only a plan has that exit code", hint="add --dry-run, or leave it out")
    bring_up(known, dry_run=dry_run, exit_code=exit_code, only=only, pull=pull)


def bring_up(
    known: Globals, *, dry_run: bool = False, exit_code: bool = False, only: str = "", pull: bool = False
) -> None:
    from kmuctl.commands import up as command_

    stack = known.stack()
    if dry_run:
        counts = command_.plan(known.console, stack, known.site, only, pull=pull)
        if counts["failed"]:
            raise typer.Exit(FAILED)
        raise typer.Exit(DIFFERENCES if exit_code and counts["change"] + counts["blocked"] else OK)
    if not command_.run(known.console, stack, known.site, only, pull=pull):
        raise typer.Exit(FAILED)


@command
def down(
    known: Globals,
    purge: Annotated[bool, typer.Option("--purge", help="Also remove all data and secrets, for good.")] = False,
    yes: YesOption = False,
) -> None:
    """Stop everything; data stays unless --purge is given."""
    from kmuctl.commands.operate import stop

    stop(known.console, known.stack(), purge_too=purge, yes=yes)


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


@certs.command()
@guarded
def sync(known: Globals) -> None:
    """Hand the certificates that Caddy renewed to mail and calls; a timer does it every hour."""
    from kmuctl.commands.certs import run as synchronize

    if not synchronize(known.console, known.stack()):
        raise typer.Exit(FAILED)


@command
def dns(
    known: Globals,
    format_: Annotated[str, typer.Option("--format", metavar="FORMAT", help="table, zone (BIND) or json.")] = "",
) -> None:
    """Show every DNS record that the site needs, DKIM too once mail runs, and what reverse DNS must say."""
    from kmuctl.commands import dns as command_

    command_.require_format(known.console, format_)
    command_.run(known.console, known.stack(), format_)


@secrets.command("list")
@guarded
def list_(known: Globals) -> None:
    """Show every secret and which services read it; no values."""
    from kmuctl.commands.secrets import show

    show(known.console, known.stack())


@secrets.command()
@guarded
def rotate(known: Globals, name: Annotated[str, typer.Argument(help="As `secrets list` shows it.")]) -> None:
    """Give one secret a new value, on both sides; services that read it restart."""
    from kmuctl.commands.secrets import rotate as rotate_

    if not rotate_(known.console, known.stack(), known.site, name.lower()):
        raise typer.Exit(FAILED)


def main() -> None:
    run(app)
