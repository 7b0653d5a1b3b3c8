"""Many commands at a time over one connection: none of them ends it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.drivers.sshd import sshd

pytestmark = pytest.mark.tool


def test_commands_that_end_at_any_moment_leave_the_connection_alone(tmp_path: Path) -> None:
    """sshd hangs up on whoever says a word on a channel that is closed: a command may end before it has read all."""
    commands = (("true",), ("head", "-c", "1"), ("cat",), ("sh", "-c", "echo x; echo y >&2; exit 3"))
    with sshd(tmp_path) as machine:
        host = machine.host()
        try:
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lambda number: host.run(commands[number % 4], stdin=b"word" * 500), range(600)))
        finally:
            host.close()
    assert [answer.code for answer in answers] == [0, 0, 0, 3] * 150
