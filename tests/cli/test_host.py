"""Which machine a command works on: the site file says it, `--host` overrides it, and no other is touched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmuctl import commands
from kmuctl.commands import host as way
from kmuctl.model.errors import HostError, LinkLost
from kmuctl.model.host import Host
from kmuctl.model.site import load_site
from kmuctl.services import NAMES
from tests.cli.runner import init, kmuctl, program, site_file
from tests.fakes import FakeHost
from tests.operations.scenes import empty, running
from tests.support import CORE

ADDRESS = "ssh://root@203.0.113.9"
COMMANDS = (
    ("up",), ("up", "--dry-run"), ("down",), ("down", "--purge", "--yes"), ("status",), ("logs", "caddy"),
    ("login-link",), ("dns",), ("certs", "sync"), ("secrets", "list"),
)  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """The site runs there."""
    there = running()

    def connected(address: str) -> Host:
        assert address == ADDRESS
        return there

    monkeypatch.setattr(way, "_connected", connected)
    return there


@pytest.fixture
def nothing_here(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def local() -> FakeHost:
        raise AssertionError("this machine was taken for the server")

    for module in (commands.host, commands.init):
        monkeypatch.setattr(module, "LocalHost", local)


@pytest.mark.usefixtures("server", "nothing_here")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("given", ["in the site file", "--host"])
def test_every_command_works_on_the_server(given: str, command: tuple[str, ...]) -> None:
    """K1: `address` in the site file or `--host`: no command takes this machine for that one."""
    site_file("" if given == "--host" else f'address = "{ADDRESS}"\n')
    assert kmuctl(*(["--host", ADDRESS] if given == "--host" else []), *command).stdout


def test_on_the_server_itself_the_sites_own_address_is_overridden(host: FakeHost) -> None:
    site_file(f'address = "{ADDRESS}"\n')
    assert "to change" in kmuctl("--host", "local", "up", "--dry-run").stdout


@pytest.mark.parametrize("address", ["server", "ssh://", "ssh://a b", "tcp://x:22", "ssh://root@x/path", "ssh://x:ab"])
def test_an_address_that_is_none(address: str) -> None:
    site_file()
    assert kmuctl("--host", address, "status", code=2).stderr.startswith(f"error: --host: `{address}` must be ")


def test_an_address_for_init() -> None:
    """One meaning: where the site runs."""
    kmuctl("--host", ADDRESS, "init", *_flags())
    assert load_site(Path("kmu.toml"), NAMES).host.address == ADDRESS


def test_inits_own_option_wins() -> None:
    init(host="ssh://root@[2001:db8::1]:2222")
    assert load_site(Path("kmu.toml"), NAMES).host.address == "ssh://root@[2001:db8::1]:2222"


def _flags() -> list[str]:
    from tests.cli.runner import FLAGS

    return [part for flag, value in FLAGS.items() for part in (flag, value)]


@pytest.mark.parametrize(
    ("address", "words"),
    [("ssh://root@127.0.0.1:1", "127.0.0.1, port 1: the connection is refused"),
     ("ssh://root@no-such-server.invalid", "nobody knows the name `no-such-server.invalid`")],
)  # fmt: skip
def test_a_server_that_is_not_there(tmp_path: Path, address: str, words: str) -> None:
    """As a program: one line, a hint, no traceback."""
    site = tmp_path / "kmu.toml"
    site.write_text(CORE)
    done = program("--site", str(site), "--host", address, "status", HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == f"error: {words}"
    assert done.stderr.splitlines()[2].startswith("hint: ") and len(done.stderr.splitlines()) == 3


def test_a_link_that_breaks_is_told_with_what_is_certain(server: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    site_file()

    def lost(_: object) -> dict[str, object]:
        raise LinkLost("root@203.0.113.9", "a request to the Docker engine", begun=True)

    monkeypatch.setattr(server.engine, "containers", lost)
    said = kmuctl("--host", ADDRESS, "status", code=1).stderr
    assert said.startswith("error: the connection to root@203.0.113.9 broke at a request to the Docker engine: it may ")
    assert isinstance(LinkLost("x", "y", begun=False), HostError) is False


def test_up_over_a_link_that_breaks(server: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before is counted, nothing more is begun, and the next `up` goes on."""
    site_file()
    fresh = empty()
    monkeypatch.setattr(way, "_connected", lambda address: fresh)

    def lost(reference: str) -> None:
        raise LinkLost("root@203.0.113.9", "a request to the Docker engine", begun=True)

    with monkeypatch.context() as broken:
        broken.setattr(fresh.engine, "pull", lost)
        result = kmuctl("--host", ADDRESS, "up", code=1)
    assert (
        "the connection to root@203.0.113.9 broke at a request to the Docker engine: it may have begun" in result.stderr
    )
    assert re.match(r"not done: \d failed, \d+ wait for them, \d+ changed; the next `kmuctl up` goes on", result.stdout)
    assert fresh.engine.made == {}
    assert kmuctl("--host", ADDRESS, "up").stdout.startswith("done: ")
