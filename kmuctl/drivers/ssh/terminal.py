"""A command on the server with what stands on this terminal."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from kmuctl.drivers.ssh.shell import Shell
from kmuctl.model.errors import INTERRUPTED

if TYPE_CHECKING:
    from paramiko import Channel

PIECE = 2**15


def foreground(shell: Shell, command: Sequence[str]) -> int:
    """Its exit code, as a shell gives it."""
    try:
        code = _on_terminal(shell, command) if sys.stdin.isatty() and sys.stdout.isatty() else _piped(shell, command)
    except KeyboardInterrupt:
        return INTERRUPTED
    if code == -1 and shell.link.breaks():
        raise shell.link.lost(f"`{command[0]}`", begun=True)
    return code if code >= 0 else 255


def _piped(shell: Shell, command: Sequence[str]) -> int:
    with shell.session(command) as channel:
        Thread(target=_feed, args=(channel,), daemon=True).start()
        errors = Thread(target=_show, args=(channel.recv_stderr, sys.stderr.buffer), daemon=True)
        errors.start()
        _show(channel.recv, sys.stdout.buffer)
        errors.join()
        return channel.recv_exit_status()


def _show(receive: Callable[[int], bytes], stream: IO[bytes]) -> None:
    while piece := receive(PIECE):
        stream.write(piece)
        stream.flush()


def _feed(channel: Channel) -> None:
    with suppress(OSError, EOFError, ValueError):
        while piece := os.read(sys.stdin.fileno(), PIECE):
            channel.sendall(piece)
        channel.shutdown_write()


def _on_terminal(shell: Shell, command: Sequence[str]) -> int:
    kind = (os.environ.get("TERM", "vt100"), *os.get_terminal_size(sys.stdout.fileno()))
    line, what = shell.own_line(command), f"`{command[0]}`"
    with shell.link.session(line, what, terminal=kind) as channel, _raw(), _resizing(channel):
        _exchange(channel)
        return channel.recv_exit_status()


def _exchange(channel: Channel) -> None:
    watched: list[Any] = [channel, sys.stdin]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if channel in ready:
            if not (piece := channel.recv(PIECE)):
                return
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        if sys.stdin in ready:
            typed = os.read(sys.stdin.fileno(), PIECE)
            with suppress(OSError, EOFError):  # a channel that closed is seen by the next look
                channel.sendall(typed)
            if not typed:
                watched.remove(sys.stdin)


@contextmanager
def _raw() -> Iterator[None]:
    """Every key goes to the server; whatever happens, the terminal is then as it was."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _resizing(channel: Channel) -> Iterator[None]:
    def resize(*_: object) -> None:
        with suppress(OSError, EOFError):
            channel.resize_pty(*os.get_terminal_size(sys.stdout.fileno()))

    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
