"""The link itself, against a real sshd: who is let in, what is refused, and what is left when it breaks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from kmuctl.drivers.ssh import lock
from kmuctl.drivers.ssh.connecting import hops
from kmuctl.drivers.ssh.host import SshHost
from kmuctl.drivers.ssh.settings import settings_of
from kmuctl.model.errors import Busy, ConfigError, HostError, LinkLost
from tests.drivers.sshd import Answers, Sshd, allow, know, make_key, sshd

pytestmark = pytest.mark.tool


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sshd]:
    """An sshd that a test may change, or kill the sessions of."""
    with sshd(tmp_path) as running:
        yield running


@pytest.fixture
def host(own: Sshd) -> Iterator[SshHost]:
    connected = own.host()
    yield connected
    connected.close()


def refusal(server: Sshd, people: Answers | None = None, **changes: object) -> HostError:
    with pytest.raises(HostError) as caught:
        server.host(people, **changes)
    return caught.value


def fingerprint(public: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-l", "-f", str(public)], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


# the server's key


def test_a_server_that_nobody_met_yet_is_refused(server: Sshd, tmp_path: Path) -> None:
    """K1: with what is needed to compare, and what to type."""
    error = refusal(server, known_hosts=(tmp_path / "none",))
    shown = fingerprint(server.folder / "host_ed25519.pub")
    assert error.message == f"`[127.0.0.1]:{server.port}` is not known yet; its key is ssh-ed25519 {shown}"
    assert "--accept-new-host-key" in error.hint
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("people", [Answers(accepts_new_keys=True), Answers(agrees=True)], ids=["option", "asked"])
def test_a_first_meeting(server: Sshd, tmp_path: Path, people: Answers) -> None:
    """Noted as OpenSSH notes it: the next time nobody is asked."""
    known = tmp_path / "ssh/known_hosts"
    server.host(people, known_hosts=(known,)).close()
    assert [fingerprint(server.folder / "host_ed25519.pub") in question for question in people.asked] == (
        [] if people.accepts_new_keys else [True]
    )
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{server.port}", "-f", str(known)], capture_output=True, check=False
    )
    assert found.returncode == 0
    server.host(known_hosts=(known,)).close()


def test_a_known_server_in_a_hashed_file(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text((server.folder / "known_hosts").read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    server.host(known_hosts=(known,)).close()


@pytest.mark.parametrize("people", [Answers(), Answers(accepts_new_keys=True, agrees=True)], ids=["alone", "accepting"])
def test_a_changed_key_stops_us_whatever_was_said(server: Sshd, tmp_path: Path, people: Answers) -> None:
    other = make_key(tmp_path / "other")
    know(tmp_path, server.port, tmp_path / "other.pub")
    error = refusal(server, people, known_hosts=(tmp_path / "known_hosts",))
    for key in (server.folder / "host_ed25519.pub", Path(f"{other}.pub")):
        assert fingerprint(key) in error.message
    assert "ssh-keygen" in error.hint and f"-R '[127.0.0.1]:{server.port}'" in error.hint
    assert people.asked == []


def test_a_server_with_several_keys_shows_the_known_one(tmp_path: Path) -> None:
    """One of another kind, which nobody compared, is no change."""
    rsa = make_key(tmp_path / "host_rsa", kind="rsa")
    with sshd(tmp_path, f"HostKey {rsa}\n") as server:
        know(tmp_path, server.port, tmp_path / "host_rsa.pub")
        server.host().close()


def note(path: Path, *lines: str) -> tuple[Path, ...]:
    path.write_text("".join(f"{line}\n" for line in lines))
    return (path,)


def key_of(public: Path) -> str:
    return " ".join(public.read_text().split()[:2])


def test_a_revoked_key_stops_us_though_it_is_known(server: Sshd, tmp_path: Path) -> None:
    """A key that somebody took back is refused, wherever it stands."""
    own, key = f"[127.0.0.1]:{server.port}", key_of(server.folder / "host_ed25519.pub")
    people = Answers(accepts_new_keys=True, agrees=True)
    for line in (f"@revoked * {key}", f"@revoked {own} {key}"):
        known = note(tmp_path / "known", f"{own} {key}", line)
        assert "which is revoked" in refusal(server, people, known_hosts=known).message
    elsewhere = note(tmp_path / "known", f"{own} {key}", f"@revoked 192.0.2.1 {key}")
    server.host(known_hosts=elsewhere).close()


def test_of_two_keys_of_one_kind_both_count(server: Sshd, tmp_path: Path) -> None:
    """A server behind a name that two share, or one that is about to change its key."""
    own, key = f"[127.0.0.1]:{server.port}", key_of(server.folder / "host_ed25519.pub")
    make_key(tmp_path / "other")
    other = key_of(tmp_path / "other.pub")
    for keys in ((key, other), (other, key)):
        server.host(known_hosts=note(tmp_path / "known", *(f"{own} {one}" for one in keys))).close()


def test_a_file_for_all_users_and_another_name(server: Sshd, tmp_path: Path) -> None:
    """GlobalKnownHostsFile and HostKeyAlias."""
    line = f"acme {key_of(server.folder / 'host_ed25519.pub')}"
    none, all_know = (tmp_path / "none",), note(tmp_path / "all", line)
    server.host(known_hosts=none, all_know=all_know, alias="acme").close()
    error = refusal(server, known_hosts=none, all_know=all_know, alias="zeta")
    assert error.message.startswith("`zeta` is not known yet")


@pytest.mark.parametrize(
    ("patterns", "known"),
    [("*", True), ("[127.0.0.?]:*", True), ("*,![127.0.0.1]:*", False), ("127.0.0.1", False)],
)  # fmt: skip
def test_patterns_of_names(server: Sshd, tmp_path: Path, patterns: str, known: bool) -> None:
    file = note(tmp_path / "known", f"{patterns} {key_of(server.folder / 'host_ed25519.pub')}")
    if known:
        server.host(known_hosts=file).close()
    else:
        assert "is not known yet" in refusal(server, known_hosts=file).message


# signing in


def test_a_key_that_the_server_does_not_take(server: Sshd, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong")
    error = refusal(server, keys=(wrong, tmp_path / "none"))
    assert f"none of the keys: `{wrong}`: refused; `{tmp_path}/none`: is not there" in error.message
    assert f"ssh -p {server.port} root@127.0.0.1" in error.hint


def test_a_file_that_is_no_key(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nonsense\n")
    assert "not a private key" in refusal(server, keys=(tmp_path / "key",)).message


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_kinds_of_keys(own: Sshd, tmp_path: Path, kind: str) -> None:
    locked = make_key(tmp_path / "locked", passphrase="old wine", kind=kind)
    allow(own.folder, locked)
    people = Answers(secrets={str(locked): "old wine"})
    connected = own.host(people, keys=(locked,))
    assert connected.enter_again()
    connected.close()
    assert len(people.asked) == 1


def test_a_key_with_a_passphrase_and_nobody_to_type_it(own: Sshd, tmp_path: Path) -> None:
    locked = make_key(tmp_path / "locked", passphrase="old wine")
    allow(own.folder, locked)
    error = refusal(own, keys=(locked,))
    assert f"the key `{locked}` has a passphrase" in error.message
    assert f"ssh-add {locked}" in error.hint
    assert "is not the passphrase" in refusal(own, Answers(secrets={"Passphrase": "wrong"}), keys=(locked,)).message


def test_a_key_in_the_agent(own: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has a passphrase; the agent does not need it."""
    locked = make_key(tmp_path / "locked")
    allow(own.folder, locked)
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        eventually((tmp_path / "agent").exists)
        subprocess.run(["ssh-add", "-q", str(locked)], check=True, capture_output=True)
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "old wine", "-f", str(locked)], check=True)
        own.host(keys=(locked,), agent=True, agent_keys=False).close()
        own.host(keys=(), agent=True).close()
        assert "there is none" in refusal(own, keys=(), agent=True, agent_keys=False).message
        agent.terminate()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL) as running:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        eventually(place.exists)
        yield place
        running.terminate()


def hold(*keys: Path) -> None:
    for key in keys:
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)


@pytest.mark.usefixtures("agent")
def test_an_agent_with_many_keys(tmp_path: Path) -> None:
    """Sshd hardened counts three; the named key comes first, and what was taken once comes first again."""
    with sshd(tmp_path, "MaxAuthTries 3\n") as strict:
        hold(*(make_key(tmp_path / f"other{number}") for number in range(4)), strict.folder / "key")
        connected = strict.host(agent=True)
        assert connected.enter_again()
        connected.close()
        error = refusal(strict, agent=True, keys=(tmp_path / "other0",))
        assert "hung up before the right key came" in error.message
        assert "IdentitiesOnly" in error.hint


@pytest.mark.usefixtures("agent")
def test_the_agents_key_that_was_taken_is_the_one_that_enters_again(own: Sshd, tmp_path: Path) -> None:
    """Whatever else it holds by then, and whatever sshd has come to count."""
    hold(own.folder / "key")
    connected = own.host(agent=True, keys=())
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    hold(*(make_key(tmp_path / f"other{number}") for number in range(7)), own.folder / "key")
    assert connected.enter_again()
    connected.close()


# the way there


def test_nobody_listens(server: Sshd) -> None:
    error = refusal(server, port=1)
    assert error.message == "127.0.0.1, port 1: the connection is refused"
    assert error.hint


def test_nobody_knows_the_name(server: Sshd) -> None:
    assert refusal(server, host="no-such-server.invalid").message == "nobody knows the name `no-such-server.invalid`"


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silence", "another program"])
def test_somebody_else_listens(server: Sshd, says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def answer() -> None:
            taken.append(listening.accept()[0])
            taken[0].sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        started = monotonic()
        error = refusal(server, port=listening.getsockname()[1], seconds=1)
        thread.join()
        taken[0].close()
    assert monotonic() - started < 10
    assert error.message.startswith("127.0.0.1, port ") and error.hint


def test_a_jump_host(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same checking on the way: both are known, both take the key."""
    write_config(tmp_path, server)
    monkeypatch.setenv("HOME", str(tmp_path))
    connected = SshHost(settings_of("ssh://behind"), Answers())
    assert connected.run(("printf", "there")).stdout == "there"
    connected.close()
    (tmp_path / "known_hosts").write_text("")
    with pytest.raises(HostError, match="is not known yet"):
        SshHost(settings_of("ssh://behind"), Answers())


def test_a_jump_host_behind_another_one(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the first of them is its own; one that is behind itself is reached directly."""
    write_config(tmp_path, server)
    monkeypatch.setenv("HOME", str(tmp_path))
    with (tmp_path / ".ssh/config").open("a") as file:
        file.write("Host far\n    HostName 127.0.0.3\n    ProxyJump near,between\n")
        file.write("Host near\n    HostName 127.0.0.4\n    ProxyJump gate\n")
        file.write("Host gate between\n    HostName 127.0.0.5\n    ProxyJump near\n")
    assert [hop.name for hop in hops(settings_of("far"))] == ["gate", "near", "between"]
    assert [hop.name for hop in hops(settings_of("gate"))] == ["near"]
    with (tmp_path / ".ssh/config").open("a") as file:
        file.write("Host alone\n    HostName 127.0.0.6\n    ProxyJump alone\n")
    assert hops(settings_of("alone")) == []


def test_through_three_connections(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, server)
    monkeypatch.setenv("HOME", str(tmp_path))
    with (tmp_path / ".ssh/config").open("a") as file:
        file.write("Host far\n    HostName 127.0.0.1\n    ProxyJump root@localhost\n")
        file.write("Host localhost\n    HostKeyAlias near\n    ProxyJump root@127.0.0.1\n")
    with (tmp_path / "known_hosts").open("a") as file:
        file.write(f"near {key_of(server.folder / 'host_ed25519.pub')}\n")
    connected = SshHost(settings_of("far"), Answers())
    assert len(server.sessions()) >= 3
    assert connected.run(("printf", "there")).stdout == "there"
    connected.close()


def test_a_passphrase_for_the_jump_host_is_asked_for_once(
    own: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again when a second connection is made, in the middle of the progress."""
    locked = make_key(tmp_path / "locked", passphrase="old wine")
    allow(own.folder, locked, own.folder / "key")
    write_config(tmp_path, own)
    config = tmp_path / ".ssh/config"
    config.write_text(f"Host near\n    HostName 127.0.0.1\n    IdentityFile {locked}\n" + config.read_text())
    config.write_text(config.read_text().replace("ProxyJump root@127.0.0.1", "ProxyJump root@near"))
    monkeypatch.setenv("HOME", str(tmp_path))
    people = Answers(secrets={str(locked): "old wine"})
    connected = SshHost(settings_of("ssh://behind"), people)
    assert connected.enter_again()
    connected.close()
    assert len(people.asked) == 1


def test_nothing_behind_the_jump_host(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, server)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(HostError, match="cannot be reached through the jump host"):
        SshHost(settings_of("ssh://behind:1"), Answers())


def test_a_proxy_command(server: Sshd, tmp_path: Path) -> None:
    """nc's half, in Python."""
    program = tmp_path / "way.py"
    program.write_text(
        "import os, socket, sys, threading\n"
        f"s = socket.create_connection(('127.0.0.1', {server.port}))\n"
        "def back():\n"
        "    while data := s.recv(65536): os.write(1, data)\n"
        "    os._exit(0)\n"
        "threading.Thread(target=back, daemon=True).start()\n"
        "while data := os.read(0, 65536): s.sendall(data)\n"
    )
    connected = server.host(command=f"python3 {program}")
    assert connected.run(("printf", "there")).stdout == "there"
    connected.close()


def write_config(folder: Path, server: Sshd) -> None:
    (folder / ".ssh").mkdir()
    (folder / "known_hosts").write_text((server.folder / "known_hosts").read_text())
    (folder / ".ssh/config").write_text(f"""
Host *
    User root
    Port {server.port}
    IdentityFile {server.folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
Host behind
    HostName 127.0.0.1
    ProxyJump root@127.0.0.1
""")


# sudo


SUDOER = "kmuctl-sudoer"


@pytest.fixture
def user() -> Iterator[str]:
    """Gone afterwards, with what lets it use sudo."""
    if subprocess.run(["id", SUDOER], capture_output=True, check=False).returncode:
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", SUDOER], check=True)
    subprocess.run(["chpasswd"], input=f"{SUDOER}:old wine\n".encode(), check=True)
    yield SUDOER
    may(None)
    eventually(lambda: subprocess.run(["userdel", SUDOER], capture_output=True, check=False).returncode == 0)


def may(rule: str | None) -> None:
    path = Path("/etc/sudoers.d", SUDOER)
    path.unlink(missing_ok=True)
    if rule:
        path.write_text(f"{SUDOER} ALL=(ALL) {rule}\n")
        path.chmod(0o440)


@pytest.fixture
def reachable(own: Sshd) -> Sshd:
    """Its keys may be looked at by sshd as this user."""
    for folder in (own.folder, *own.folder.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    (own.folder / "authorized_keys").chmod(0o644)
    return own


def test_sudo_without_a_password(reachable: Sshd, user: str) -> None:
    may("NOPASSWD: ALL")
    people = Answers()
    connected = reachable.host(people, user=user)
    assert connected.run(("id", "-u")).stdout == "0\n"
    assert (connected.entry().user, connected.entry().client) == (user, "127.0.0.1")
    assert connected.entry().ssh_port == reachable.port
    connected.close()
    assert people.asked == []


def test_sudo_with_a_password(reachable: Sshd, user: str, tmp_path: Path) -> None:
    """Asked for once; what a command reads is what it was given, whatever sudo read before it."""
    may("ALL")
    people = Answers(secrets={"sudo": "old wine"})
    connected = reachable.host(people, user=user)
    assert connected.run(("cat",), stdin=b"first\nsecond").stdout == "first\nsecond"
    connected.write(f"{tmp_path}/file", b"content", mode=0o600)
    assert connected.read(f"{tmp_path}/file") == b"content"
    assert (tmp_path / "file").stat().st_uid == 0
    with connected.lock(f"{tmp_path}/lock", "me"), pytest.raises(Busy), connected.lock(f"{tmp_path}/lock", "you"):
        pytest.fail("two at a time")
    listed = connected.run(("ps", "-ef", "-ww")).stdout
    connected.close()
    assert "old wine" not in listed
    assert len(people.asked) == 1


def test_a_ticket_of_sudo_is_not_relied_on(reachable: Sshd, user: str) -> None:
    """One that counts for all sessions of a user is over in the middle of the work."""
    may(f"ALL\nDefaults:{user} timestamp_type=global")
    people = Answers(secrets={"sudo": "old wine"})
    ssh = ["ssh", "-p", str(reachable.port), "-i", str(reachable.folder / "key"), "-o", "StrictHostKeyChecking=no"]
    ssh += ["-o", f"UserKnownHostsFile={reachable.folder}/scratch", f"{user}@127.0.0.1", "sudo -S -v && sudo -n id -u"]
    done = subprocess.run(ssh, input=b"old wine\n", capture_output=True, check=True)
    assert done.stdout == b"0\n"
    connected = reachable.host(people, user=user)
    assert len(people.asked) == 1
    assert connected.run(("id", "-u")).stdout == "0\n"
    connected.close()


@pytest.mark.parametrize(
    ("rule", "password", "words"),
    [("ALL", None, "wants a password, and nobody is here"), ("ALL", "wrong", "sudo refuses"),
     (None, "old wine", "sudo refuses")],
)  # fmt: skip
def test_sudo_that_is_refused(reachable: Sshd, user: str, rule: str | None, password: str | None, words: str) -> None:
    may(rule)
    error = refusal(reachable, Answers(secrets={"sudo": password} if password else {}), user=user)
    assert words in error.message
    assert error.hint
    assert "old wine" not in error.message + error.hint


# when it breaks


def eventually(look: object) -> None:
    end = monotonic() + 10
    while not look():  # type: ignore[operator]
        assert monotonic() < end
        sleep(0.02)


def cut(server: Sshd) -> None:
    """The processes that serve our connections end, as when a server loses power."""
    for process in server.sessions():
        os.kill(process, signal.SIGKILL)


def test_a_link_that_breaks_in_the_middle_of_a_command(own: Sshd, host: SshHost) -> None:
    threading.Timer(0.3, cut, (own,)).start()
    with pytest.raises(LinkLost, match="broke at `sleep 20`: it may have begun, and how it ended is unknown") as caught:
        host.run(("sleep", "20"))
    assert "again" in caught.value.hint


def test_a_link_that_is_broken_before(own: Sshd, host: SshHost) -> None:
    cut(own)
    eventually(lambda: host.link.broken)
    with pytest.raises(LinkLost, match="broke at `true`: it had not begun"):
        host.run(("true",))
    with pytest.raises(LinkLost, match="broke at writing `/nowhere/file`: it had not begun"):
        host.write("/nowhere/file", b"x")


def test_a_link_that_breaks_under_a_program_in_the_foreground(
    own: Sshd, host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    threading.Timer(0.3, cut, (own,)).start()
    with Path(os.devnull).open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(LinkLost, match="broke at `sleep`"):
            host.foreground(("sleep", "20"), {})


@pytest.mark.parametrize("moment", range(8))
def test_whenever_it_breaks_it_is_told_as_that(own: Sshd, moment: int, tmp_path: Path) -> None:
    """And never as an error of the file system or of a service."""
    host = own.host()
    threading.Timer(moment * 0.01, cut, (own,)).start()
    with pytest.raises(LinkLost):
        for number in range(1000):
            host.write(f"{tmp_path}/file", b"x")
            host.facts([f"{tmp_path}/file", "/nowhere"])
            with host.lock(f"{tmp_path}/lock", f"{number}"):
                host.read(f"{tmp_path}/file")
    host.close()


def test_a_lock_is_free_when_the_link_breaks(own: Sshd, host: SshHost, tmp_path: Path) -> None:
    """And its holder does not fail at the end because of it."""
    other = own.host()
    before = own.sessions()
    with host.lock(f"{tmp_path}/lock", "first"):
        with pytest.raises(Busy, match="first"), other.lock(f"{tmp_path}/lock", "second"):
            pytest.fail("two at a time")
        host.close()

        def free() -> bool:
            try:
                with other.lock(f"{tmp_path}/lock", "second"):
                    return True
            except Busy:
                return False

        eventually(free)
    assert len(before) == 2
    other.close()


def test_a_lock_that_was_lost_ends_the_link(host: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While this machine slept the server's patience ended, and another kmuctl may be at work."""
    monkeypatch.setattr(lock, "HOLD", lock.HOLD.replace("timeout 60", "timeout 0.2"))
    with host.lock(f"{tmp_path}/lock", "first"):
        eventually(lambda: host.link.broken)
        with pytest.raises(LinkLost):
            host.run(("touch", f"{tmp_path}/done"))
    assert not (tmp_path / "done").exists()


def test_many_at_once(host: SshHost) -> None:
    """More than sshd takes sessions: they wait for each other."""
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(host.run(("sh", "-c", f"sleep 0.05; echo {n}")).stdout))
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, answers)) == [*range(40)]


def test_a_server_that_takes_few_sessions(tmp_path: Path) -> None:
    with sshd(tmp_path, "MaxSessions 2\n") as server:
        connected = server.host()
        test_many_at_once(connected)
        connected.close()


def test_entering_again(own: Sshd, host: SshHost) -> None:
    """The old connection goes on when a new one would be refused: that is what it proves."""
    assert host.enter_again()
    allow(own.folder)
    with pytest.raises(HostError, match="none of the keys"):
        host.enter_again()
    assert host.run(("true",)).code == 0


def test_entering_again_where_a_key_is_shown_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardening takes the ECDSA key away. The server itself has told of the other one, and it is noted."""
    ecdsa = make_key(tmp_path / "host_ecdsa", kind="ecdsa")
    (tmp_path / "host_odd.pub").write_text("no key\n\nnone")
    monkeypatch.setattr("kmuctl.drivers.ssh.host.HOST_KEYS", f"{tmp_path}/host_*.pub")
    with sshd(tmp_path, f"HostKey {ecdsa}\n") as server:
        know(tmp_path, server.port, tmp_path / "host_ecdsa.pub")
        connected = server.host()
        config = tmp_path / "sshd_config"
        config.write_text(config.read_text().replace(f"HostKey {ecdsa}\n", ""))
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "ssh-ed25519" in shown(server.port))
        eventually(lambda: "ecdsa" not in shown(server.port))
        assert connected.enter_again()
        connected.close()
        server.host().close()
        (tmp_path / "host_ed25519.pub").unlink()
        know(tmp_path, server.port, tmp_path / "host_ecdsa.pub")
        assert "shows another key than before" in refusal(server).message


def shown(port: int) -> str:
    """The keys that it has."""
    scan = ["ssh-keyscan", "-T", "2", "-p", str(port), "127.0.0.1"]
    return subprocess.run(scan, capture_output=True, text=True, check=False).stdout


# nothing is left, nothing is shown


def test_a_secret_variable_is_in_no_list_of_processes(
    host: SshHost, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("sh", "-c", 'ps -ef -ww; ls /run/*.env; printf "%s" "$TOKEN" | tr a-z A-Z; exit 7')
    with Path(os.devnull).open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert host.foreground(command, {"TOKEN": "it's-secret"}) == 7
    said = capfdbinary.readouterr().out
    assert b"IT'S-SECRET" in said
    assert b"it's-secret" not in said
    assert b"\n/run/" not in said


def test_the_foreground_keeps_the_streams_apart(
    host: SshHost, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_bytes(b"a\xffb")
    with (tmp_path / "in").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert host.foreground(("sh", "-c", "cat; echo bad >&2; exit 3"), {}) == 3
        assert capfdbinary.readouterr() == (b"a\xffb", b"bad\n")
        assert host.foreground(("no-such-program-here",), {}) == 127


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("ssh://root@203.0.113.7:2222", ("root", "203.0.113.7", 2222)),
        ("ssh://me@[2001:db8::1]", ("me", "2001:db8::1", 22)),
        ("ssh://me@[2001:db8::1]:2222", ("me", "2001:db8::1", 2222)),
        ("ssh://me@server.example", ("me", "server.example", 22)),
    ],
)
def test_addresses(address: str, parts: tuple[str, str, int], tmp_path: Path) -> None:
    settings = settings_of(address, config=tmp_path / "none")
    assert (settings.user, settings.host, settings.port) == parts


def test_opensshs_own_file(tmp_path: Path) -> None:
    """What the address says wins."""
    config = tmp_path / "config"
    config.write_text(
        "Host vps\n HostName 203.0.113.7\n Port 2222\n User kim\n IdentityFile ~/.ssh/vps\n ConnectTimeout 5\n"
        " ProxyJump jump@a.example,b.example:23\nHost direct\n ProxyJump none\n"
    )
    found = settings_of("ssh://vps", config=config)
    assert (found.host, found.port, found.user, found.seconds) == ("203.0.113.7", 2222, "kim", 5)
    assert found.keys == (Path("~/.ssh/vps").expanduser(),)
    assert found.jumps == ("jump@a.example", "b.example:23")
    over = settings_of("ssh://root@vps:22", config=config)
    assert (over.host, over.port, over.user) == ("203.0.113.7", 22, "root")
    assert settings_of("ssh://direct", config=config).jumps == ()


def test_files_that_opensshs_own_file_includes(tmp_path: Path) -> None:
    """As other tools leave them there; a file that includes itself is no endless one."""
    (tmp_path / "more.d").mkdir()
    (tmp_path / "more.d/vps").write_text(f"Host vps\n  HostName 203.0.113.7\nInclude {tmp_path}/config\n")
    (tmp_path / "config").write_text("Include more.d/* none.d/*\nHost *\n  User kim\n")
    found = settings_of("ssh://vps", config=tmp_path / "config")
    assert (found.host, found.user) == ("203.0.113.7", "kim")


def test_a_file_of_opensshs_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host vps\n Port many\n")
    with pytest.raises(ConfigError, match="`many` is no port of a server"):
        settings_of("ssh://vps", config=tmp_path / "config")
