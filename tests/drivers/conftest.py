"""One sshd for all tests of a module that use it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kmuctl.drivers.ssh.host import SshHost
from tests.drivers.sshd import Sshd, sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def ssh_host(server: Sshd) -> Iterator[SshHost]:
    host = server.host()
    yield host
    host.close()
