"""Where a session comes from, and since when: judged on the server itself, in sessions of a real sshd. K26."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from kmuctl.drivers import local
from kmuctl.drivers.local import LocalHost
from kmuctl.drivers.ssh.host import SshHost
from kmuctl.model.errors import HostError, Unreachable
from tests.drivers.sshd import Sshd, allow, sshd
from tests.lab.stack import eventually

ENTRY = (
    "import json; from dataclasses import asdict; from kmuctl.drivers.local import LocalHost; "
    "print(json.dumps(asdict(LocalHost().entry())))"
)
SLACK = 1.1
"""The kernel tells the moment of its start in whole seconds."""


@pytest.fixture
def connected(server: Sshd) -> Iterator[SshHost]:
    host = server.host()
    yield host
    host.close()


def environment() -> tuple[str, ...]:
    return ("env", f"PYTHONPATH={':'.join(path for path in sys.path if path)}")


def seen_there(host: SshHost, *before: str) -> dict[str, Any]:
    answer = host.run((*environment(), *before, sys.executable, "-c", ENTRY))
    assert answer.code == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


@pytest.mark.tool
def test_both_sides_tell_the_same_session_and_when_it_began(server: Sshd) -> None:
    before = time()
    connected = server.host()
    after = time()
    here, there = connected.entry(), seen_there(connected)
    connected.close()
    assert (there["session"], there["ssh_port"], there["client"]) == (here.session, here.ssh_port, here.client)
    assert before - SLACK <= there["since"] <= after
    assert before - SLACK <= here.since <= after


@pytest.mark.tool
def test_also_where_sudo_took_the_variables(connected: SshHost) -> None:
    without = ("env", "--unset=SSH_CONNECTION")
    below = seen_there(connected, "sh", "-c", '"$@"; exit', "sh", *without)
    assert (below["session"], below["since"] > 0) == (connected.entry().session, True)
    there = seen_there(connected, *without)
    assert (there["session"], there["since"]) == ("sshd", below["since"])


@pytest.mark.tool
def test_what_outlives_its_session_began_at_no_known_time(connected: SshHost, tmp_path: Path) -> None:
    """As the shells of a tmux: their session may be over since yesterday."""
    line = f'sleep 0.5; {sys.executable} -c "$0" >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/said'
    connected.run((*environment(), "sh", "-c", 'setsid sh -c "$1" "$0" >/dev/null 2>&1 & exit', ENTRY, line))
    eventually((tmp_path / "said").exists)
    there = json.loads((tmp_path / "said").read_text())
    assert (there["session"], there["since"]) == (connected.entry().session, 0)


def test_a_root_shell_in_a_tmux_is_not_the_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel still knows which sign-in it came from, and systemd that this one came from elsewhere."""
    for name in ("sessionid", "7", "8"):
        (tmp_path / name).write_text({"sessionid": "7", "7": "USER=root\nREMOTE=1\n", "8": "REMOTE=0\n"}[name])
    monkeypatch.setattr(local, "_session", lambda process: {})
    monkeypatch.setattr(local, "SIGN_IN", str(tmp_path / "sessionid"))
    monkeypatch.setattr(local, "SIGN_INS", str(tmp_path))
    entry = LocalHost().entry()
    assert (entry.session, entry.since, entry.console, entry.ssh_port) == ("sign-in 7", 0, False, None)
    (tmp_path / "sessionid").write_text("8")
    assert LocalHost().entry().console
    (tmp_path / "sessionid").write_text("4294967295")
    assert LocalHost().entry().console


@pytest.mark.tool
def test_an_sshd_that_is_away_is_told_from_one_that_refuses(tmp_path: Path) -> None:
    """After a change only the first is asked again: fail2ban counts refusals."""
    with sshd(tmp_path) as server:
        connected = server.host()
        allow(server.folder)
        with pytest.raises(HostError, match="none of the keys") as refused:
            connected.enter_again()
        server.process.terminate()
        server.process.wait()
        with pytest.raises(Unreachable, match="the connection is refused"):
            connected.enter_again()
        connected.close()
    assert not isinstance(refused.value, Unreachable)
