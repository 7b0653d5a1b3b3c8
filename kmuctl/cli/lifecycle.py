"""A site from its file: `init`, `harden`, `render`, `up`, `down`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kmuctl import SITE_FILE
from kmuctl.cli.program import DIFFERENCES, FAILED, OK, YesOption, command
from kmuctl.entry import Globals
from kmuctl.model.errors import ConfigError

ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="With --dry-run: exit 3 when something would change.")
]


@command
def init(
    known: Globals,
    directory: Annotated[Path, typer.Option(help="Where to write kmu.toml.")] = Path(),
    domain: Annotated[str, typer.Option(help="Domain of the company, like acme.example.")] = "",
    name: Annotated[str, typer.Option(help="Name of the company.")] = "",
    admin_user: Annotated[str, typer.Option(help="Sign-on name of the first admin.")] = "",
    admin_name: Annotated[str, typer.Option(help="Full name of the first admin.")] = "",
    admin_email: Annotated[str, typer.Option(help="Mail address of the first admin.")] = "",
    host: Annotated[str, typer.Option(help="Where it will run: local, or ssh://USER@SERVER.")] = "",
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
    given |= {
        "host.address": host or known.host or "local",
        "host.folder": folder,
        "language": language,
        "timezone": timezone,
    }
    ask = known.console.interactive and not yes
    if make(known.console, directory, given, trial=trial, ask=ask):
        bring_up(replace(known, site=directory / SITE_FILE))


@command
def harden(
    known: Globals,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and why.")] = False,
    exit_code: ExitCodeOption = False,
    force: Annotated[bool, typer.Option("--force", help="On a distribution that kmuctl does not know, too.")] = False,
    docker_source: Annotated[
        str, typer.Option(metavar="SOURCE", help="Where Docker comes from: docker (its own packages) or distro.")
    ] = "",
    confirm: Annotated[
        bool, typer.Option("--confirm", help="In a new session: the change of SSH or firewall that waits may stay.")
    ] = False,
) -> None:
    """Make the machine itself safe: updates, Docker, firewall, SSH, fail2ban; a second run changes nothing."""
    from kmuctl.commands import harden as command_

    _refuse_without_plan(dry_run=dry_run, exit_code=exit_code)
    if confirm:
        return command_.confirm(known.console, known.stack())
    stack = command_.with_source(known.stack(), docker_source)
    if dry_run:
        raise typer.Exit(_plan_code(command_.plan(known.console, stack, force=force), exit_code=exit_code))
    if not command_.run(known.console, stack, force=force):
        raise typer.Exit(FAILED)
    return None


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
    exit_code: ExitCodeOption = False,
    only: Annotated[str, typer.Option(metavar="SERVICE", help="One service, with what it needs.")] = "",
    pull: Annotated[bool, typer.Option("--pull", help="Fetch every pinned image again first.")] = False,
) -> None:
    """Make this machine match the site; a second run changes nothing."""
    _refuse_without_plan(dry_run=dry_run, exit_code=exit_code)
    bring_up(known, dry_run=dry_run, exit_code=exit_code, only=only, pull=pull)


def _refuse_without_plan(*, dry_run: bool, exit_code: bool) -> None:
    if exit_code and not dry_run:
        raise ConfigError("--exit-code: only a plan has that exit code", hint="add --dry-run, or leave it out")


def _plan_code(counts: dict[str, int], *, exit_code: bool) -> int:
    if counts["failed"]:
        return FAILED
    return DIFFERENCES if exit_code and counts["change"] + counts["blocked"] else OK


def bring_up(
    known: Globals, *, dry_run: bool = False, exit_code: bool = False, only: str = "", pull: bool = False
) -> None:
    from kmuctl.commands import up as command_

    stack = known.stack()
    if dry_run:
        counts = command_.plan(known.console, stack, known.site, only, pull=pull)
        raise typer.Exit(_plan_code(counts, exit_code=exit_code))
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
