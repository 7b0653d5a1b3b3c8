"""Everything that can go wrong in a foreseeable way.

    KmuError              message, hint, exit code; shown without a traceback
    +-- ConfigError       2  the site file, the secrets file or the command line
    +-- HostError         1  the machine or its Docker engine is not fit for the job
    |   +-- Unreachable   1  nobody answers there; a moment later somebody may
    +-- LinkLost          1  the connection to the host broke; the message says what is certain
    +-- StepFailed        1  a step of a plan did not reach its goal
    +-- Busy              4  another kmuctl holds the lock

Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell gives it."""


class KmuError(Exception):
    """Shown to the admin as `error: message` and `hint: hint`."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(KmuError):
    exit_code = 2


class HostError(KmuError):
    pass


class Unreachable(HostError):
    pass


class LinkLost(KmuError):
    """`begun`: something was on its way to the host, and how it ended is unknown."""

    def __init__(self, host: str, what: str, *, begun: bool) -> None:
        certain = "it may have begun, and how it ended is unknown" if begun else "it had not begun"
        hint = "run the same command again: it looks at what is there, and goes on from here"
        super().__init__(f"the connection to {host} broke at {what}: {certain}", hint=hint)


class StepFailed(KmuError):
    pass


class Busy(KmuError):
    exit_code = 4


class Problems(ConfigError):
    """All problems of one file or command line; each begins with its key path."""

    def __init__(self, title: str, found: list[str], *, hint: str) -> None:
        super().__init__("\n".join([f"{title}:", *(f"  {line}" for line in found)]), hint=hint)
        self.found = found
