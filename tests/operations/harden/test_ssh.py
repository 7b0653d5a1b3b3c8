"""sshd's settings: strong, and never without a way back in. PITFALLS 18."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmuctl.model.errors import HostError
from kmuctl.model.host import Answer, Entry
from kmuctl.model.step import Outcome, State, Working
from kmuctl.operations.harden import confirmation, harden, sshd, undo
from kmuctl.operations.harden.preflight import examine
from kmuctl.operations.plan import converge
from tests.fakes.server import KEY, Server
from tests.operations.harden.scenes import causes, go, only, plan
from tests.support import stack

SSH = only("ssh", undo_minutes=1)
STEP = "ssh:settings"
NOW = 1.8e9


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
        "; a client that knows only the ECDSA key of this machine will ask, or refuse, as if it were another machine"
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


@pytest.mark.parametrize(
    "line",
    [
        "", "# nothing", "ssh-ed25519 AAAA", 'command="exit" ' + KEY, KEY[:40], f"cert-authority {KEY}",
        f'no-pty,CERT-AUTHORITY,principals="root" {KEY}', f'expiry-time="19700101" {KEY}',
        f'expiry-time="197001010001Z" {KEY}', f'expiry-time="some day" {KEY}',
    ],
)  # fmt: skip
def test_without_a_key_that_opens_a_shell_passwords_stay(line: str) -> None:
    host = Server()
    host.write("/root/.ssh/authorized_keys", line.encode())
    host.came = replace(host.came, by_key=None)
    outcome = go(host, SSH)[STEP]
    assert outcome.cause == "`root` has no key on this machine: without passwords nobody could sign in"
    assert "ssh-copy-id root@ADDRESS" in outcome.hint
    assert effective(host)["passwordauthentication"] == ["yes"]


@pytest.mark.parametrize(
    "line",
    [
        KEY, f'from="198.51.100.0/24",no-pty {KEY}', f"  {KEY} more words", f'expiry-time="20990101" {KEY}',
        f'environment="A=command=,cert-authority" {KEY}',
    ],
)  # fmt: skip
def test_keys_that_open_a_shell(line: str) -> None:
    assert sshd.opens_shell(line, NOW)


@given(st.text())
def test_any_line_is_judged(line: str) -> None:
    assert sshd.opens_shell(line, NOW) in (True, False)


@given(st.binary(max_size=12))
def test_a_key_whose_inside_says_otherwise_is_none(blob: bytes) -> None:
    assert not sshd.opens_shell(f"ssh-ed25519 {b64encode(blob).decode()}", NOW)


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


CONFIRMED = "confirmed"


def on_the_server(host: Server, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object] | None = None) -> Any:
    """kmuctl runs there itself, and cannot enter by itself; `then` happens while it waits. How the waiting ended."""
    host.lets_in = None
    monkeypatch.setattr(confirmation, "GRACE_SECONDS", -58 if then is None else 0)
    steps = [*harden(stack(harden=SSH), examine(host))]
    for event in converge(steps, host, workers=1):
        waits = isinstance(event, Working) and event.step.name == CONFIRMED and "not confirmed yet" in event.cause
        if waits and event.seconds and then:
            then()
            then = None
        if isinstance(event, Outcome) and event.step.name == CONFIRMED:
            return event
    return None


def new_session(host: Server) -> None:
    host.came = replace(host.came, session="two", since=float(host.tick()))


def test_on_the_server_itself_the_admin_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    outcome = on_the_server(host, monkeypatch)
    assert outcome.state is State.FAILED
    assert outcome.cause.startswith("ssh not confirmed yet: open a NEW session to this machine and type `kmuctl harden")
    assert effective(host)["passwordauthentication"] == ["no"]
    assert undo.armed(host, "ssh")


def test_the_admin_confirms_while_harden_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()

    def confirm() -> None:
        with pytest.raises(HostError, match="not known to be newer than the change of ssh"):
            confirmation.confirm_all(host)
        new_session(host)
        assert confirmation.confirm_all(host) == ["ssh"]

    assert on_the_server(host, monkeypatch, confirm).state is State.CHANGE
    assert effective(host)["passwordauthentication"] == ["no"]
    assert causes(go(host, SSH)) == {}


def test_the_undo_strikes_while_harden_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    outcome = on_the_server(host, monkeypatch, lambda: host.systemd.undo("ssh"))
    assert outcome.state is State.FAILED
    assert outcome.cause == "nobody confirmed, so the machine undid: ssh (at 2026-11-28 20:00:00 UTC)"
    assert effective(host)["passwordauthentication"] == ["yes"]


def test_a_harden_over_a_link_confirms_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the change and its confirmation, and run again from elsewhere."""
    host = Server()
    on_the_server(host, monkeypatch)
    host.lets_in = True
    assert causes(go(host, SSH)).keys() == {CONFIRMED}
    assert not undo.armed(host, "ssh")


def test_a_harden_that_was_cut_off_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may be there, and sshd may not have read it."""
    host = Server()
    on_the_server(host, monkeypatch)
    host.remove(undo.in_force("ssh"))
    host.lets_in = True
    assert causes(go(host, SSH)) == {STEP: "the change was cut off in the middle"}
    assert causes(plan(host, SSH)) == {}


def test_an_undo_that_struck_is_told_and_the_next_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    on_the_server(host, monkeypatch)
    host.systemd.undo("ssh")
    assert effective(host)["passwordauthentication"] == ["yes"]
    assert plan(host, SSH)[STEP].cause.endswith(
        "; the last change was undone at 2026-11-28 20:00:00 UTC: nobody had confirmed it"
    )
    host.lets_in = True
    assert go(host, SSH)[STEP].state is State.CHANGE
    assert causes(go(host, SSH)) == {}


def test_one_confirmation_for_firewall_and_ssh() -> None:
    """It is waited for after both, and before anything else."""
    names = [step.name for step in harden(stack(), examine(Server()))]
    assert names.count(CONFIRMED) == 1
    assert names[names.index(CONFIRMED) - 1] == STEP
    step = next(step for step in harden(stack(), examine(Server())) if step.name == CONFIRMED)
    assert step.after == ("firewall:ufw", STEP)
    assert names.index("firewall:ufw") < names.index(CONFIRMED) < names.index("fail2ban:packages")
    without = [step.name for step in harden(stack(harden=only("system")), examine(Server()))]
    assert CONFIRMED not in without


# Match


def exception(host: Server, *lines: str, user: str) -> None:
    host.matches[user] = dict(line.split(" ", 1) for line in lines)


def test_what_a_match_block_allows_root_is_told() -> None:
    host = Server()
    host.write("/home/admin/.ssh/authorized_keys", f"{KEY}\n".encode())
    host.came = replace(host.came, user="admin")
    exception(host, "passwordauthentication yes", "permitrootlogin yes", user="root")
    outcome = go(host, SSH)[STEP]
    assert outcome.state is State.CHANGE
    assert outcome.warning == (
        "sshd has exceptions (`grep -rn Match /etc/ssh`): passwordauthentication, permitrootlogin for `root`"
    )


def test_what_a_match_block_says_of_everybody_is_refused() -> None:
    host = Server()
    for user in ("root", "nobody"):
        exception(host, "passwordauthentication yes", user=user)
    outcome = go(host, SSH)[STEP]
    assert outcome.cause == "another file of sshd says otherwise: passwordauthentication; the change is undone"
    assert "no `Match` block" in outcome.hint


def test_sshd_is_told_all_that_a_match_may_ask() -> None:
    """Without the server's address and port it refuses where a block names one."""
    host = Server()
    host.came = Entry(user="root", ssh_port=2222, client="fe80::7%eth0", session="fe80::7%eth0 5 fe80::1%eth0 2222")
    go(host, SSH)
    assert "user=root,host=fe80::7,addr=fe80::7,laddr=fe80::1,lport=2222" in host.connections
    host.came = Entry(user="root")
    go(host, SSH)
    assert "user=root,host=127.0.0.1,addr=127.0.0.1,laddr=127.0.0.1,lport=22" in host.connections


def test_a_reload_that_fails_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Server()
    run = host.systemd.run
    failing = Answer(1, "", "Job for ssh.service failed")
    monkeypatch.setattr(
        host.systemd, "run", lambda words: failing if words[0] == "try-reload-or-restart" else run(words)
    )
    outcome = go(host, SSH)[STEP]
    assert outcome.cause.startswith("sshd cannot be reloaded: Job for ssh.service failed; ")
    assert outcome.hint.startswith("`journalctl --unit ssh.service")


def test_before_its_first_connection_sshd_s_folder_is_missing() -> None:
    """On Ubuntu, where its socket waits for somebody."""
    host = Server()
    host.programs["/usr/sbin/sshd"] = lambda words: Answer(255, "", "Missing privilege separation directory: /run/sshd")
    outcome = plan(host, SSH)[STEP]
    assert outcome.cause == "sshd does not accept its settings: Missing privilege separation directory: /run/sshd"
    assert outcome.hint.startswith("`systemctl start ssh.service` makes this folder")
