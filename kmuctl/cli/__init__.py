"""The command line: parse, call an operation, let the console print, end with the documented code."""

from kmuctl.cli import groups, lifecycle, operate  # noqa: F401 (each registers its commands, in this order)
from kmuctl.cli.program import EXIT_CODES, app
from kmuctl.entry import run

__all__ = ["EXIT_CODES", "app", "main"]


def main() -> None:
    run(app)
