"""One contract for every host: what a test sees on the fake one, the real one does as well."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kmuctl.drivers.local import LocalHost
from kmuctl.model.errors import Busy, HostError
from kmuctl.model.host import Host
from tests.fakes import FakeHost, Untaught

KINDS = [LocalHost, FakeHost]
ME = os.geteuid()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def host(request: pytest.FixtureRequest) -> Host:
    known: Host = request.param()
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


def test_a_folder_on_another_disk_goes_with_what_is_in_it(tmp_path: Path) -> None:
    """`down --purge` says "removed": nothing may be left behind a link."""
    disk, link = tmp_path / "disk", tmp_path / "data"
    disk.mkdir()
    (disk / "file").write_text("x")
    link.symlink_to(disk)
    LocalHost().remove(str(link))
    assert [*tmp_path.iterdir()] == []


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


def test_a_missing_program_answers_127() -> None:
    answer = LocalHost().query(("no-such-program-here",))
    assert (answer.code, answer.stdout) == (127, "")


def test_commands_are_lists() -> None:
    """No shell reads them: a name of any kind is one argument."""
    assert LocalHost().query(("printf", "%s", "$HOME; `id` 'x'")).stdout == "$HOME; `id` 'x'"
    assert LocalHost().run(("cat",), stdin="ä".encode()).stdout == "ä"


def test_a_file_is_never_seen_half_written(tmp_path: Path) -> None:
    """The new one takes the old one's place in one move, and nothing stays behind when that fails."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostError, match="cannot write"):
        LocalHost().write(str(tmp_path / "folder"), b"x", uid=ME)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_fake_answers_nothing_that_it_was_not_taught() -> None:
    for ask in (FakeHost().query, FakeHost().run):
        with pytest.raises(Untaught):
            ask(("rm", "-rf", "/"))
