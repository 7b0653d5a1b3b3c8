"""sshd's settings: strong, and never without a way back in. PITFALLS 18."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmuctl.model.errors import HostError
from kmuctl.model.host import Entry
from kmuctl.model.step import State
from kmuctl.operations.harden import sshd, undo
from tests.fakes.server import KEY, Server
from tests.operations.harden.scenes import causes, go, only, plan

SSH = only("ssh", undo_minutes=1)
STEP = "ssh:settings"


def effective(host: Server) -> dict[str, list[str]]:
    return sshd.effective_settings(host, "root")


def test_keys_only_and_strong_algorithms() -> None:
    host = Server()
    assert go(host, SSH)[STEP].state is State.CHANGE
    found = effective(host)
    assert (found["passwordauthentication"], found["permitrootlogin"]) == (["no"], ["prohibit-password"])
    assert found["kexalgorithms"] == ["sntrup761x25519-sha512@openssh.com,curve25519-sha256"]
    assert found["macs"] == ["hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com"]
    assert found["hostkeyalgorithms"] == ["ssh-ed25519,rsa-sha2-512,rsa-sha2-256"]
    assert found["port"] == ["22"]


def test_what_kmuctl_itself_needs_stays_open() -> None:
    host = Server()
    go(host, SSH)
    found = effective(host)
    assert (found["maxsessions"], found["allowtcpforwarding"]) == (["10"], ["local"])
    assert found["allowstreamlocalforwarding"] == ["local"]


def test_proven_and_confirmed_nothing_of_the_undo_is_left() -> None:
    host = Server()
    go(host, SSH)
    assert host.tree("/var/lib/kmuctl") == []
    assert [path for path in host.nodes if "kmuctl-undo" in path] == []
    assert causes(go(host, SSH)) == {}


def test_a_dropped_host_key_is_said_before() -> None:
    assert plan(Server(), SSH)[STEP].cause.endswith(
        "; a client that knows only the ECDSA key of this machine will ask again"
    )


def test_a_short_rsa_key_is_not_shown_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshd, "RSA_BITS", 4096)
    host = Server()
    go(host, SSH)
    assert effective(host)["hostkey"] == ["/etc/ssh/ssh_host_ed25519_key"]


def test_root_without_a_key_is_shut_out_altogether() -> None:
    host = Server()
    host.write("/home/admin/.ssh/authorized_keys", f"{KEY}\n".encode())
    host.remove("/root/.ssh/authorized_keys")
    host.came = replace(host.came, user="admin", by_key=None)
    go(host, SSH)
    assert effective(host)["permitrootlogin"] == ["no"]


@pytest.mark.parametrize("line", ["", "# nothing", "ssh-ed25519 AAAA", 'command="exit" ' + KEY, KEY[:40]])
def test_without_a_key_that_opens_a_shell_passwords_stay(line: str) -> None:
    host = Server()
    host.write("/root/.ssh/authorized_keys", line.encode())
    host.came = replace(host.came, by_key=None)
    outcome = go(host, SSH)[STEP]
    assert outcome.cause == "`root` has no key on this machine: without passwords nobody could sign in"
    assert "ssh-copy-id root@ADDRESS" in outcome.hint
    assert effective(host)["passwordauthentication"] == ["yes"]


@pytest.mark.parametrize("line", [KEY, f'from="198.51.100.0/24",no-pty {KEY}', f"  {KEY} more words"])
def test_keys_that_open_a_shell(line: str) -> None:
    assert sshd.opens_shell(line)


@given(st.text())
def test_any_line_is_judged(line: str) -> None:
    assert sshd.opens_shell(line) in (True, False)


@given(st.binary(max_size=12))
def test_a_key_whose_inside_says_otherwise_is_none(blob: bytes) -> None:
    assert not sshd.opens_shell(f"ssh-ed25519 {b64encode(blob).decode()}")


def test_settings_that_sshd_refuses_are_taken_back() -> None:
    host = Server()
    before = effective(host)
    host.invalid = "/etc/ssh/sshd_config.d/00-kmuctl.conf line 9: Bad SSH2 KexAlgorithms"
    outcome = go(host, SSH)[STEP]
    assert outcome.cause == f"sshd does not accept its settings: {host.invalid}; the change is undone"
    assert effective(host) == before


def test_a_main_file_without_include_is_named() -> None:
    host = Server()
    host.write("/etc/ssh/sshd_config", host.text("/etc/ssh/sshd_config").replace("include", "#").encode())
    outcome = go(host, SSH)[STEP]
    assert outcome.cause.startswith("another file of sshd says otherwise: passwordauthentication")
    assert "Include /etc/ssh/sshd_config.d/*.conf" in outcome.hint
    assert host.read(sshd.CONFIG) is None


def test_nobody_gets_in_under_the_new_rules_so_the_old_ones_count() -> None:
    host = Server()
    host.lets_in = False
    outcome = go(host, SSH)[STEP]
    assert outcome.cause == "the server takes none of the keys; the change is undone"
    assert effective(host)["passwordauthentication"] == ["yes"]
    assert plan(host, SSH)[STEP].state is State.CHANGE


def on_the_server(host: Server, monkeypatch: pytest.MonkeyPatch, then: Any = None) -> Any:
    """kmuctl runs there itself, and cannot enter by itself; `then` happens while it waits."""
    host.lets_in = None
    looks = iter(range(1000))

    def entry() -> Entry:
        if next(looks) == 30 and then:
            then()
        return host.came

    monkeypatch.setattr(undo, "GRACE_SECONDS", -58)
    return go(host, SSH)[STEP]


def test_on_the_server_itself_the_admin_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    outcome = on_the_server(host, monkeypatch)
    assert outcome.state is State.FAILED
    assert outcome.cause.startswith("not confirmed yet: open a NEW session to this machine and type `kmuctl harden")
    assert effective(host)["passwordauthentication"] == ["no"]
    assert undo.armed(host, "ssh")


def test_the_session_that_made_the_change_cannot_confirm_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    on_the_server(host, monkeypatch)
    with pytest.raises(HostError, match="this is the session that changed ssh"):
        undo.confirm_all(host)
    host.came = replace(host.came, session="two")
    assert undo.confirm_all(host) == ["ssh"]
    assert plan(host, SSH)[STEP].state is State.OK
    assert undo.confirm_all(host) == []


def test_on_the_machines_own_console_nobody_is_locked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    on_the_server(host, monkeypatch)
    host.came = Entry(user="root")
    assert undo.confirm_all(host) == ["ssh"]


def test_an_undo_that_struck_is_told_and_the_next_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    on_the_server(host, monkeypatch)
    host.systemd.undo("ssh")
    assert effective(host)["passwordauthentication"] == ["yes"]
    assert plan(host, SSH)[STEP].cause == ("nobody confirmed the change, so it was undone at 2026-11-28 20:00:00 UTC")
    host.lets_in = True
    assert go(host, SSH)[STEP].state is State.CHANGE
    assert causes(go(host, SSH)) == {}
