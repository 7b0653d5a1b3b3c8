"""What `harden` writes, read by the programs that it is for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kmuctl.drivers import processes
from kmuctl.drivers.local import LocalHost
from kmuctl.model.host import Entry
from kmuctl.operations.harden import apt, sshd, undo
from kmuctl.operations.harden.dropins import rendered
from kmuctl.operations.harden.openssh import SSHD
from kmuctl.operations.harden.system.updates import KEPT
from kmuctl.operations.timers import UNITS
from tests.drivers.sshd import SEPARATION
from tests.fakes import FakeHost
from tests.tools.programs import program, run

pytestmark = pytest.mark.tool

CHANGE = undo.Guarded(name="ssh", files=("/etc/ssh/a b.conf", "/etc/it's"), restore=(("true", "a b"),), minutes=5)


def test_sshd_accepts_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the algorithms of the OpenSSH that is here."""
    for kind in sshd.HOST_KEYS:
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / f"ssh_host_{kind}_key")
    keys = {kind: str(tmp_path / f"ssh_host_{kind}_key") for kind in sshd.HOST_KEYS}
    monkeypatch.setattr(sshd, "host_key_files", lambda host: keys)
    monkeypatch.setattr(sshd, "has_key", lambda host, user: True)
    SEPARATION.mkdir(exist_ok=True)  # systemd makes it where sshd is a service
    config = tmp_path / "sshd_config"
    config.write_bytes(sshd.config(LocalHost()))
    done = subprocess.run(
        [program("/usr/sbin/sshd"), "-T", "-f", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    for name, values in sshd.settings(LocalHost()).items():
        if name not in sshd.BY_HAND:
            assert f"{name} {values[0].upper() if name == 'loglevel' else values[0]}" in shown


def test_apt_reads_the_settings_of_unattended_upgrades(tmp_path: Path) -> None:
    """And shows each line as it stands there: the check of the step compares them."""
    content = rendered("system/unattended.conf", kept=KEPT, reboot="04:00")
    config = tmp_path / "apt.conf"
    config.write_bytes(content)
    shown = run("apt-config", "-c", config, "dump").splitlines()
    wanted = [line for line in content.decode().splitlines() if not line.startswith("//")]
    assert set(wanted) <= set(shown)


def test_the_kernel_tells_who_holds_apts_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process with several locks, as unattended-upgrades is."""
    lock, other = (tmp_path / name for name in ("lock", "other"))
    monkeypatch.setattr(apt, "LOCKS", (str(lock), str(tmp_path / "absent")))
    hold = (
        "import fcntl, sys; held = [open(path, 'w') for path in sys.argv[1:]]; "
        "[fcntl.lockf(file, fcntl.LOCK_EX) for file in held]; print(flush=True); sys.stdin.read()"
    )
    busy = next(apt.ready_steps()).check
    for paths, expected in ([other], False), ([other, lock], True), ([lock, other], True):
        command = [sys.executable, "-c", hold, *map(str, paths)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout and holder.stdout.readline()
            drift = busy(LocalHost())
            holder.communicate()
        assert (drift is not None and f"(process {holder.pid})" in drift.cause) is expected
    assert busy(LocalHost()) is None


def test_systemd_accepts_the_units_of_an_undo(tmp_path: Path) -> None:
    paths = [tmp_path / path.rpartition("/")[2] for path in undo.unit_files("ssh", 5)]
    for path, content in zip(paths, undo.unit_files("ssh", 5).values(), strict=True):
        path.write_bytes(content)
    command = [program("systemd-analyze"), "verify", "--man=no", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in (done.stdout + done.stderr).splitlines() if "kmuctl-undo" in line] == []


def test_the_undo_itself_works_in_a_plain_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names with blanks and quotes; run again, it does no harm."""
    monkeypatch.setattr(undo, "STATE", str(tmp_path))
    monkeypatch.setattr(undo, "FOLDER", str(tmp_path / "undo"))
    monkeypatch.setattr(undo, "UNITS", str(tmp_path / "units"))
    there, absent, ran = tmp_path / "there's one", tmp_path / "new one", tmp_path / "it ran"
    folder = tmp_path / "undo/ssh"
    folder.mkdir(parents=True)
    (folder / "0").write_text("old")
    there.write_text("new")
    absent.write_text("new")
    change = undo.Guarded(
        name="ssh", files=(str(there), str(absent)), restore=(("cp", str(there), str(ran)),), minutes=5
    )
    script = undo.script(change, {str(there): "0", str(absent): ""})
    (folder / "undo").write_bytes(script)
    environment = {"PATH": f"{_without_systemd(tmp_path)}:/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["sh", "-c", script.decode()], env=environment, capture_output=True, check=False)
    assert (there.read_text(), absent.exists(), ran.read_text()) == ("old", False, "old")
    assert (tmp_path / "undone-ssh").read_text().endswith("UTC\n")
    assert not folder.exists()


def test_an_undo_that_fails_keeps_its_copies_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K26: on a full disk, or where a folder is gone: the rest is put back, and nobody is told that all is well."""
    monkeypatch.setattr(undo, "STATE", str(tmp_path))
    monkeypatch.setattr(undo, "FOLDER", str(tmp_path / "undo"))
    monkeypatch.setattr(undo, "UNITS", str(tmp_path / "units"))
    folder, gone, there = tmp_path / "undo/ssh", tmp_path / "gone/file", tmp_path / "there"
    folder.mkdir(parents=True)
    copies = {str(gone): str(folder / "0"), str(there): str(folder / "1")}
    for number in "01":
        (folder / number).write_text("old")
    there.write_text("new")
    change = undo.Guarded(name="ssh", files=tuple(copies), restore=(), minutes=5)
    command = ["sh", "-c", undo.script(change, copies).decode()]
    environment = {"PATH": f"{_without_systemd(tmp_path)}:/usr/bin:/bin"}
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 1
    assert there.read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1"]
    assert not (tmp_path / "undone-ssh").exists()
    gone.parent.mkdir()
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    assert gone.read_text() == "old"
    assert (tmp_path / "undone-ssh").exists() and not folder.exists()


def test_a_command_of_the_undo_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "STATE", str(tmp_path))
    monkeypatch.setattr(undo, "FOLDER", str(tmp_path / "undo"))
    (tmp_path / "undo/ssh").mkdir(parents=True)
    change = undo.Guarded(name="ssh", files=(), restore=(("false",),), minutes=5)
    done = subprocess.run(["sh", "-c", undo.script(change, {}).decode()], capture_output=True, check=False)
    assert done.returncode == 1
    assert not (tmp_path / "undone-ssh").exists()
    assert b"Restart=on-failure\n" in undo.unit_files("ssh", 5)[f"{UNITS}/kmuctl-undo-ssh.service"]


def test_sshd_judges_a_match_about_the_server_s_own_port(tmp_path: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    SEPARATION.mkdir(exist_ok=True)
    config = tmp_path / "sshd_config"
    config.write_text(f"HostKey {tmp_path}/key\nMatch LocalPort 2222 LocalAddress 10.0.0.0/8\nMaxAuthTries 2\n")
    host = FakeHost()
    host.came = Entry(user="root", ssh_port=2222, client="192.0.2.1", session="192.0.2.1 4000 10.0.0.7 2222")
    host.programs[SSHD] = lambda words: processes.run((program(SSHD), "-f", str(config), *words), b"", None)
    assert sshd.effective_settings(host, "root")["maxauthtries"] == ["2"]
    host.came = Entry(user="root")
    assert sshd.effective_settings(host, "root")["maxauthtries"] == ["6"]


def _without_systemd(folder: Path) -> Path:
    """A systemctl that does nothing."""
    fake = folder / "bin/systemctl"
    fake.parent.mkdir(exist_ok=True)
    shutil.copy("/bin/true", fake)
    return fake.parent
