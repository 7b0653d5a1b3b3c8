"""What a file system refuses, told to an admin: the same words for this machine and for one behind a link."""

from __future__ import annotations

import errno
import os

from kmuctl.model.errors import HostError

HINTS = {
    os.strerror(errno.EACCES): "run it with sudo",
    os.strerror(errno.EPERM): "run it with sudo",
    os.strerror(errno.ENOSPC): (
        "the disk is full: free some space (`docker image prune`, old logs), then run the same command again"
    ),
    os.strerror(errno.EROFS): "the file system is read-only: look at `dmesg`",
}
"""By the words that the C library has for it, in its own locale."""


def io_error(verb: str, path: str, reason: str) -> HostError:
    return HostError(f"cannot {verb} `{path}`: {reason}", hint=HINTS.get(reason, ""))


def absent(reason: str) -> bool:
    """Whether this only says that there is nothing."""
    return reason in (os.strerror(errno.ENOENT), os.strerror(errno.ENOTDIR))
