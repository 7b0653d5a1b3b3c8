"""One contract for every host: what a test sees on the fake one, the real one does as well."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import time

import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.drivers.ssh import files
from kmuctl.model.errors import Busy, HostError
from kmuctl.model.host import Answer, Host
from tests.fakes import FakeHost, Untaught


@dataclass(frozen=True)
class Text:
    content: bytes
    mode: int
    uid: int


OVER_SSH = pytest.param("SshHost", marks=pytest.mark.tool)
KINDS: dict[str, Callable[[], Host]] = {"LocalHost": LocalHost, "FakeHost": FakeHost}
ME = os.geteuid()


@pytest.fixture(params=[*KINDS, OVER_SSH])
def host(request: pytest.FixtureRequest) -> Host:
    known: Host = KINDS[request.param]() if request.param in KINDS else request.getfixturevalue("ssh_host")
    return known


@pytest.fixture(params=["LocalHost", OVER_SSH])
def real_host(request: pytest.FixtureRequest) -> Host:
    """A machine with programs and disks."""
    known: Host = KINDS[request.param]() if request.param in KINDS else request.getfixturevalue("ssh_host")
    return known


@pytest.fixture
def folder(host: Host, tmp_path: Path) -> str:
    host.make_folder(str(tmp_path), mode=0o700, uid=ME)
    return str(tmp_path)


def test_what_is_written_can_be_read(host: Host, folder: str) -> None:
    host.write(f"{folder}/a/b/file", b"x\x00\xff", mode=0o600, uid=ME)
    assert host.read(f"{folder}/a/b/file") == b"x\x00\xff"
    fact = host.facts([f"{folder}/a/b/file"])[f"{folder}/a/b/file"]
    assert (fact.digest, fact.mode, fact.uid, fact.folder) == (
        hashlib.sha256(b"x\x00\xff").hexdigest(), 0o600, ME, False,
    )  # fmt: skip


def test_writing_again_replaces_content_and_mode(host: Host, folder: str) -> None:
    host.write(f"{folder}/file", b"old", mode=0o644, uid=ME)
    host.write(f"{folder}/file", b"new", mode=0o600, uid=ME)
    assert host.read(f"{folder}/file") == b"new"
    assert host.facts([f"{folder}/file"])[f"{folder}/file"].mode == 0o600
    assert host.tree(folder) == ["file"]


def test_writing_the_same_again_changes_only_mode_and_owner(host: Host, folder: str) -> None:
    path = f"{folder}/file"
    host.write(path, b"same", mode=0o644, uid=ME)
    before = host.facts([path])[path]
    host.write(path, b"same", mode=0o600, uid=ME)
    assert host.facts([path])[path] == replace(before, mode=0o600)
    host.write(path, b"other", mode=0o600, uid=ME)
    assert host.facts([path])[path].written > before.written


def test_what_is_not_there(host: Host, folder: str) -> None:
    host.write(f"{folder}/file", b"", uid=ME)
    for missing in (f"{folder}/none", f"{folder}/none/deep", f"{folder}/file/deep"):
        assert host.read(missing) is None
        assert host.facts([missing]) == {}
    assert host.tree(f"{folder}/none") == []
    host.remove(f"{folder}/none")


def test_a_folder(host: Host, folder: str) -> None:
    host.make_folder(f"{folder}/a/b", mode=0o750, uid=ME)
    fact = host.facts([f"{folder}/a/b"])[f"{folder}/a/b"]
    assert (fact.folder, fact.mode, fact.digest) == (True, 0o750, "")
    host.make_folder(f"{folder}/a/b", mode=0o700, uid=ME)
    assert host.facts([f"{folder}/a/b"])[f"{folder}/a/b"].mode == 0o700


def test_a_tree_is_sorted_and_has_files_only(host: Host, folder: str) -> None:
    for name in ("b/2", "a", "b/1", "b.c"):
        host.write(f"{folder}/{name}", b"", uid=ME)
    host.make_folder(f"{folder}/empty", mode=0o755, uid=ME)
    assert host.tree(folder) == ["a", "b.c", "b/1", "b/2"]


def test_removing(host: Host, folder: str) -> None:
    for name in ("keep", "gone/a/b", "gone2"):
        host.write(f"{folder}/{name}", b"", uid=ME)
    host.remove(f"{folder}/gone")
    host.remove(f"{folder}/gone2")
    assert host.tree(folder) == ["keep"]


def test_a_folder_on_another_disk_goes_with_what_is_in_it(real_host: Host, tmp_path: Path) -> None:
    """`down --purge` says "removed": nothing may be left behind a link."""
    disk, link = tmp_path / "disk", tmp_path / "data"
    disk.mkdir()
    (disk / "file").write_text("x")
    link.symlink_to(disk)
    real_host.remove(str(link))
    assert [*tmp_path.iterdir()] == []


def test_many_files_at_once(host: Host, folder: str) -> None:
    """Each with its own mode and owner; what is the same keeps its time."""
    host.write(f"{folder}/same", b"same", mode=0o644, uid=ME)
    before = host.facts([f"{folder}/same"])[f"{folder}/same"]
    files = {
        f"{folder}/same": Text(b"same", 0o640, ME),
        f"{folder}/new/a b'c": Text(b"\x00\xff", 0o600, ME),
        f"{folder}/new/deep/{'x' * 150}": Text(b"", 0o644, ME),
    }
    host.write_all(files)
    facts = host.facts(files)
    assert {path: (fact.mode, host.read(path)) for path, fact in facts.items()} == {
        path: (file.mode, file.content) for path, file in files.items()
    }
    assert facts[f"{folder}/same"].written == before.written
    assert host.tree(folder) == sorted(path.removeprefix(f"{folder}/") for path in files)


def test_nothing_to_write(host: Host, folder: str) -> None:
    host.write_all({})
    assert host.tree(folder) == []


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(real_host: Host, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("same")
    (tmp_path / "file").symlink_to("elsewhere")
    real_host.write(str(tmp_path / "file"), b"same", mode=0o600, uid=ME)
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o644


@pytest.mark.tool
def test_a_link_that_comes_while_we_look_does_not_lead_us_astray(
    ssh_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user may change names in its folder at any moment; what we compared is what changes."""
    (tmp_path / "victim").write_text("same")
    (tmp_path / "victim").chmod(0o600)
    (tmp_path / "file").write_text("same")
    swap = f"ln -sf {tmp_path}/victim {tmp_path}/file; chown --reference"
    monkeypatch.setattr(files, "WRITE", files.WRITE.replace("chown --reference", swap))
    ssh_host.write(str(tmp_path / "file"), b"same", mode=0o644, uid=33)
    assert (tmp_path / "file").is_symlink()
    victim = (tmp_path / "victim").stat()
    assert (victim.st_uid, victim.st_mode & 0o777) == (ME, 0o600)


def test_nor_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "victim").write_text("same")
    (tmp_path / "victim").chmod(0o600)
    (tmp_path / "file").symlink_to("victim")
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    with pytest.raises(HostError, match="cannot write"):
        LocalHost().write(str(tmp_path / "file"), b"same", mode=0o644, uid=ME)
    assert (tmp_path / "victim").stat().st_mode & 0o777 == 0o600


def test_a_broken_link_in_a_tree_is_a_file(real_host: Host, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("folder")
    assert real_host.tree(str(tmp_path)) == ["broken"]
    assert real_host.facts([str(tmp_path / "broken")]) == {}


@pytest.mark.skipif(ME != 0, reason="only root gives files away")
def test_an_owner(host: Host, folder: str) -> None:
    host.write(f"{folder}/file", b"x", mode=0o600, uid=4711)
    host.make_folder(f"{folder}/folder", mode=0o750, uid=4711)
    assert {fact.uid for fact in host.facts([f"{folder}/file", f"{folder}/folder"]).values()} == {4711}


def test_a_lock_has_one_holder(host: Host, folder: str) -> None:
    host.make_folder(folder, mode=0o700, uid=ME)
    with (
        host.lock(f"{folder}/lock", "first"),
        pytest.raises(Busy, match="first"),
        host.lock(f"{folder}/lock", "second"),
    ):
        pytest.fail("two at a time")
    with host.lock(f"{folder}/lock", "third"):
        pass


def test_where_the_session_comes_from(host: Host) -> None:
    entry = host.entry()
    assert entry.user
    assert (entry.ssh_port is None) == (entry.client == "")


def test_the_clock(host: Host) -> None:
    assert abs(host.now() - time()) < 5


def test_a_missing_program_answers_127(real_host: Host) -> None:
    answer = real_host.query(("no-such-program-here",))
    assert (answer.code, answer.stdout) == (127, "")


def test_commands_are_lists(real_host: Host) -> None:
    """No shell reads them: a name of any kind is one argument."""
    assert real_host.query(("printf", "%s", "$HOME; `id` 'x'\n!")).stdout == "$HOME; `id` 'x'\n!"
    assert real_host.run(("cat",), stdin="ä".encode()).stdout == "ä"


def test_what_a_command_says_is_kept_apart(real_host: Host, tmp_path: Path) -> None:
    answer = real_host.run(("sh", "-c", "pwd; echo bad >&2; exit 3"), folder=str(tmp_path))
    assert answer == Answer(3, f"{tmp_path}\n", "bad\n")


def test_much_in_and_much_out(real_host: Host) -> None:
    """More than any pipe or window holds, on all three streams at once."""
    text = b"0123456789abcdef" * 2**18
    answer = real_host.run(("sh", "-c", "tee /dev/stderr"), stdin=text)
    assert (answer.code, len(answer.stdout), len(answer.stderr)) == (0, len(text), len(text))


def test_a_command_that_does_not_read_what_it_is_given(real_host: Host) -> None:
    assert real_host.run(("true",), stdin=b"x" * 2**22).code == 0


def test_a_file_is_never_seen_half_written(real_host: Host, tmp_path: Path) -> None:
    """The new one takes the old one's place in one move, and nothing stays behind when that fails."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostError, match=f"cannot write `{tmp_path}/folder`"):
        real_host.write(str(tmp_path / "folder"), b"x", uid=ME)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(("place", "hint"), [("/proc/sys/kernel", ""), ("/sys/kernel", "")])
def test_where_nothing_can_be_written(real_host: Host, place: str, hint: str) -> None:
    with pytest.raises(HostError, match=f"cannot write `{place}/kmuctl`: "):
        real_host.write(f"{place}/kmuctl", b"x", uid=ME)


def test_the_fake_answers_nothing_that_it_was_not_taught() -> None:
    for ask in (FakeHost().query, FakeHost().run):
        with pytest.raises(Untaught):
            ask(("rm", "-rf", "/"))
