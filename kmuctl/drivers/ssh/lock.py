"""A lock that a process on the server holds, as long as it hears from us: it is free when the link or kmuctl dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from kmuctl.drivers.io_errors import io_error
from kmuctl.drivers.ssh.shell import Shell
from kmuctl.model.errors import Busy

if TYPE_CHECKING:
    from paramiko import Channel

HELD = b"held"
TAKEN = 75
HOLD = f"""
umask 077
exec 9>>"$1" || exit 1
flock -n 9 || {{ cat "$1"; exit {TAKEN}; }}
printf %s "$2" >"$1"
printf {HELD.decode()}
while [ -n "$(timeout 60 head -c 1)" ]; do :; done
"""
"""A minute without a sign of life is the end: a server may not notice for hours that nobody is there any more."""
SIGN_SECONDS = 15


@contextmanager
def held(shell: Shell, path: str, holder: str) -> Iterator[None]:
    with shell.session(("sh", "-c", HOLD, "sh", path, holder)) as channel:
        first = channel.recv(len(HELD))
        if first != HELD:
            raise _not_held(shell, channel, path, first)
        done = Event()
        Thread(target=_show_life, args=(channel, done), daemon=True).start()
        Thread(target=_watch, args=(shell, channel, done), daemon=True).start()
        try:
            yield
        finally:
            done.set()
            _let_go(channel)


def _show_life(channel: Channel, done: Event) -> None:
    with suppress(OSError, EOFError):
        while not done.wait(SIGN_SECONDS):
            channel.sendall(b".")


def _watch(shell: Shell, channel: Channel, done: Event) -> None:
    """A lock that was lost, while this machine slept for instance, ends everything: another one may be at work."""
    with suppress(OSError, EOFError):
        while channel.recv(1024):
            pass
    if not done.is_set():
        shell.link.close()


def _let_go(channel: Channel) -> None:
    """Free when this returns; over a broken link soon after."""
    with suppress(OSError, EOFError):
        channel.shutdown_write()
        channel.recv_exit_status()


def _not_held(shell: Shell, channel: Channel, path: str, first: bytes) -> Exception:
    text = first + b"".join(iter(lambda: channel.recv(1024), b""))
    code = channel.recv_exit_status()
    if code == -1 and shell.link.breaks():
        return shell.link.lost(f"locking `{path}`", begun=True)
    if code == TAKEN:
        hint = "wait until it is done, then run this again"
        return Busy(f"another kmuctl is at work here: {text.decode(errors='replace')}", hint=hint)
    errors = b"".join(iter(lambda: channel.recv_stderr(1024), b"")).decode(errors="replace").strip()
    return io_error("lock", path, errors.rpartition(": ")[2] or "the server says nothing")
