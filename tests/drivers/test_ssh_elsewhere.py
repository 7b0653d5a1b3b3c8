"""D44: the way to a server from a laptop that is no Linux: macOS has no TCP_USER_TIMEOUT."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.drivers.sshd import sshd


@pytest.mark.tool
def test_a_socket_without_linuxs_own_settings_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    with sshd(tmp_path) as machine:
        host = machine.host()
        try:
            assert host.run(("id", "-u")).stdout == "0\n"
            host.write(f"{tmp_path}/file", b"content")
            assert host.read(f"{tmp_path}/file") == b"content"
        finally:
            host.close()
