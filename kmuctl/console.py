"""The only printer: results to stdout, progress and errors to stderr; text for people, one object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from kmuctl.model.errors import INTERRUPTED, KmuError
from kmuctl.model.step import Outcome, State, Working

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

FORMAT = 1
"""Of the JSON object; raised when a field changes its meaning."""
QUIET_SECONDS = 15
GOES_ON = "the same command goes on from here"
COLORS = {State.OK: "dim", State.CHANGE: "green", State.FAILED: "red", State.BLOCKED: "yellow"}


class Console:
    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.verbose = verbose
        self.if_interrupted = ""
        """What a person who presses Ctrl-C is told; a command says it anew as it gets on."""

    @property
    def interactive(self) -> bool:
        """Whether a person is there to answer."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    def result(self, text: str, data: dict[str, Any]) -> None:
        """The outcome of a command."""
        if self.as_json:
            print(json.dumps({"format": FORMAT, **data}, ensure_ascii=False))
        elif text:
            print(text)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def warn(self, text: str) -> None:
        self._rich().print(f"[yellow]warning[/]: {_escape(text)}", soft_wrap=True)

    def fail(self, error: KmuError) -> None:
        if self.as_json:
            self.result("", {"error": error.message, "hint": error.hint, "exit_code": error.exit_code})
            return
        self._rich().print(f"[red]error[/]: {_escape(error.message)}", soft_wrap=True)
        if error.hint:
            self._rich().print(f"\n[cyan]hint[/]: {_escape(error.hint)}", soft_wrap=True)

    def interrupted(self) -> None:
        if self.as_json:
            self.result("", {"error": "interrupted", "hint": self.if_interrupted, "exit_code": INTERRUPTED})
        else:
            self.note(f"interrupted: {self.if_interrupted}" if self.if_interrupted else "interrupted")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Fitted to the width of a terminal; whole lines for everything else, so that no value is cut."""
        if sys.stdout.isatty():
            self._rich(stderr=False).print(_boxed(columns, rows, title))
        else:
            self.result("\n".join([*filter(None, [title]), *_aligned([columns, *rows]), ""]), {})

    def follow(self, events: Iterable[Outcome | Working], total: int) -> list[Outcome]:
        """Show a running plan; its outcomes in the order in which they were decided."""
        rich = self._rich()
        show = self._live if rich.is_terminal and not self.as_json else self._plain
        return list(show(events, total))

    def _plain(self, events: Iterable[Outcome | Working], total: int) -> Iterator[Outcome]:
        """A line for each change, and one now and then for what is waited for."""
        said: dict[str, float] = {}
        for event in events:
            if isinstance(event, Outcome):
                if event.state is not State.OK or self.verbose:
                    self.note(_line(event))
                yield event
            elif monotonic() - said.setdefault(event.step.name, monotonic()) >= QUIET_SECONDS:
                said[event.step.name] = monotonic()
                self.note(f"wait    {event.step.name}  ({_progress(event)})")

    def _live(self, events: Iterable[Outcome | Working], total: int) -> Iterator[Outcome]:
        """Decided steps scroll by, running ones stand below them with what they wait for."""
        from rich.live import Live

        rich, running, done = self._rich(), dict[str, Working](), 0
        with Live(console=rich, transient=True, refresh_per_second=8) as live:
            for event in events:
                if isinstance(event, Working):
                    running[event.step.name] = event
                else:
                    running.pop(event.step.name, None)
                    done += 1
                    if event.state is not State.OK or self.verbose:
                        rich.print(f"[{COLORS[event.state]}]{_escape(_line(event))}[/]", soft_wrap=True)
                    yield event
                live.update(_board(running, done, total))

    def _rich(self, *, stderr: bool = True) -> RichConsole:
        from rich.console import Console as RichConsole

        return RichConsole(stderr=stderr, highlight=False, emoji=False)


def _boxed(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(*columns, title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(_escape(cell) for cell in row))
    return table


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _line(outcome: Outcome) -> str:
    seconds = f"  {outcome.seconds:.1f} s" if outcome.seconds >= 1 else ""
    return f"{outcome}{seconds}"


def _progress(event: Working) -> str:
    limit = f" of at most {event.step.deadline}" if event.step.deadline else ""
    return f"{event.cause}, {event.seconds:.0f} s{limit}"


def _board(running: dict[str, Working], done: int, total: int) -> Any:
    from rich.console import Group
    from rich.spinner import Spinner
    from rich.text import Text

    lines = [
        Spinner("dots", Text(f"{name}  {_progress(event)}", overflow="ellipsis", no_wrap=True))
        for name, event in list(running.items())[:8]
    ]
    return Group(*lines, Text(f"{done} of {total} steps", style="dim"))


def step_data(outcome: Outcome) -> dict[str, Any]:
    return {"step": outcome.step.name, "state": outcome.state.value, "cause": outcome.cause, "hint": outcome.hint}
