"""The system itself, on a server in memory: what is done, that it holds, and what is told."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain

import pytest

from kmuctl.model.host import Answer
from kmuctl.model.step import State
from kmuctl.operations.harden.dropins import rendered
from kmuctl.operations.harden.engine import FROM_DISTRO, FROM_DOCKER
from kmuctl.operations.harden.system import settings, swap, updates
from tests.fakes.server import Server
from tests.golden import golden
from tests.operations.harden.scenes import causes, go, only, plan

SYSTEM = only("system")


def test_the_plan_for_an_empty_debian_13() -> None:
    """K23 K25 K27: read it as the admin does."""
    wanted = only("system", docker=True, ssh=True, docker_users=["debian"])
    outcomes = plan(Server(), wanted)
    golden("harden/plan-empty-debian-13.txt", "".join(f"{outcome}\n" for outcome in outcomes.values()))


def test_the_second_time_nothing_changes() -> None:
    """U36."""
    host = Server()
    assert not causes(go(host, SYSTEM), State.FAILED)
    before = dict(host.nodes)
    assert causes(go(host, SYSTEM)) == {}
    assert host.nodes == before


def test_switched_off_nothing_is_looked_at() -> None:
    assert {*plan(Server(), only("none"))} == {"cloud-init", "apt:free", "apt:whole"}


def test_waiting_updates_are_counted_and_done() -> None:
    """K23."""
    host = Server()
    assert plan(host, SYSTEM)["system:upgrades"].cause == "2 updates wait: libc6, openssl"
    go(host, SYSTEM)
    assert host.apt.waiting == []


def test_old_lists_prove_nothing() -> None:
    host = Server()
    go(host, SYSTEM)
    host.clock += 2 * 86400
    assert (
        plan(host, SYSTEM)["system:upgrades"].cause == "the package lists are older than a day, or than their sources"
    )


def test_offline_is_said_with_its_cause_and_stops_only_what_installs() -> None:
    host = Server()
    host.apt.offline = "Could not resolve 'mirror.example'"
    outcomes = go(host, SYSTEM)
    failed = outcomes["system:upgrades"]
    assert failed.cause == "the package lists cannot be fetched: Could not resolve 'mirror.example'"
    assert "apt-get update" in failed.hint
    assert outcomes["system:packages"].state is State.BLOCKED
    assert outcomes["system:journal"].state is State.CHANGE


def test_a_package_that_does_not_install_is_named() -> None:
    host = Server()
    host.apt.failing = "restic"
    failed = go(host, SYSTEM)["system:packages"]
    assert failed.cause.startswith("`apt-get ")
    assert " failed at restic: Sub-process /usr/bin/dpkg returned an error code (1)" in failed.cause


def test_an_installation_that_was_cut_off_is_finished() -> None:
    host = Server()
    host.apt.broken = {"restic": "half-configured"}
    assert plan(host, SYSTEM)["apt:whole"].cause == "an installation was cut off: restic"
    assert go(host, SYSTEM)["apt:whole"].state is State.CHANGE
    assert "restic" in host.apt.installed


def test_another_one_at_work_with_packages_is_waited_for_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """K20."""
    host = Server()
    host.write("/proc/locks", b"1: POSIX  ADVISORY  WRITE 812 fe:01:4711 0 EOF\n")
    host.write("/proc/812/comm", b"unattended-upgr\n")
    host.write("/proc/812/fd/3", b"/var/lib/dpkg/lock-frontend")
    outcome = plan(host, SYSTEM)["apt:free"]
    assert outcome.cause == "`unattended-upgr` (process 812) is at work with packages"
    assert outcome.step.deadline == 600


def test_a_lock_among_others_of_one_process_counts() -> None:
    """unattended-upgrades holds one of its own besides dpkg's."""
    host = Server()
    locks = "1: POSIX  ADVISORY  WRITE 812 fe:01:{} 0 EOF\n2: POSIX  ADVISORY  WRITE 812 00:19:{} 0 EOF\n"
    host.write("/proc/812/fd/3", b"/var/lib/dpkg/lock")
    for numbers in ((4711, 99), (99, 4712)):
        host.write("/proc/locks", locks.format(*numbers).encode())
        assert plan(host, SYSTEM)["apt:free"].state is State.CHANGE


def test_a_file_elsewhere_with_the_same_number_is_no_lock() -> None:
    host = Server()
    host.write("/proc/locks", b"1: POSIX  ADVISORY  WRITE 812 00:1a:4711 0 EOF\n")
    host.write("/proc/812/fd/3", b"/run/other.lock")
    assert plan(host, SYSTEM)["apt:free"].state is State.OK


def test_cloud_init_is_waited_for() -> None:
    host = Server()
    host.write("/run/cloud-init/enabled", b"")
    assert plan(host, SYSTEM)["cloud-init"].cause == "it still sets this machine up"
    host.write("/run/cloud-init/result.json", b"{}")
    assert plan(host, SYSTEM)["cloud-init"].state is State.OK


@pytest.mark.parametrize("package", sorted({*FROM_DOCKER, *chain(*FROM_DISTRO.values()), "containerd", "runc"}))
def test_docker_is_not_updated_at_night(package: str) -> None:
    """PITFALLS 30. unattended-upgrades matches its patterns with the begin of a name."""
    host = Server()
    go(host, SYSTEM)
    patterns = re.findall(r'(?m)^Unattended-Upgrade::Package-Blacklist:: "(.*)";$', host.text(updates.UNATTENDED))
    assert any(re.match(pattern, package) for pattern in patterns)
    assert not any(re.match(pattern, name) for pattern in patterns for name in ("openssl", "dockerfile-mode", "libc6"))
    assert "qr(^docker)} = 0" in host.text(updates.NEEDRESTART)


def test_no_reboot_unless_the_site_says_so() -> None:
    host = Server()
    go(host, SYSTEM)
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in host.text(updates.UNATTENDED)


def test_a_reboot_only_when_the_site_says_so() -> None:
    host = Server()
    go(host, only("system", reboot="04:00"))
    text = host.text(updates.UNATTENDED)
    assert 'Unattended-Upgrade::Automatic-Reboot-Time "04:00";' in text
    assert 'Automatic-Reboot "true"' in text


def test_a_reboot_that_is_due_is_told_and_not_done() -> None:
    host = Server()
    host.write(updates.REBOOT, b"*** System restart required ***\n")
    outcome = go(host, SYSTEM)["system:reboot"]
    assert (outcome.state, outcome.warning[:41]) == (State.OK, "updates wait for a restart of the machine")


def test_a_reboot_that_an_update_of_this_run_wants_is_told_by_it() -> None:
    host = Server()
    host.apt.waiting = ["linux-image-amd64"]
    assert go(host, SYSTEM)["system:reboot"].warning.startswith("updates wait for a restart of the machine")


def test_a_timer_that_was_masked_runs_again() -> None:
    host = Server()
    host.systemd.active.discard("apt-daily.timer")
    assert go(host, SYSTEM)["system:update-timers"].cause == "off: apt-daily.timer"
    assert "apt-daily.timer" in host.systemd.active


def test_another_file_of_apt_that_says_otherwise_is_found() -> None:
    host = Server()
    go(host, SYSTEM)
    host.apt.config = lambda words: Answer(0, "")  # type: ignore[method-assign]
    host.programs["apt-config"] = host.apt.config
    assert plan(host, SYSTEM)["system:unattended"].cause.startswith("another file says otherwise: ")


def test_kernel_settings_are_in_force_not_only_written() -> None:
    host = Server()
    go(host, SYSTEM)
    assert host.kernel["net.ipv4.conf.all.rp_filter"] == "2"
    host.kernel["kernel.kptr_restrict"] = "0"
    assert causes(go(host, SYSTEM)) == {"system:sysctl": "not in force: kernel.kptr_restrict"}
    assert host.kernel["kernel.kptr_restrict"] == "2"


@pytest.mark.parametrize(("present", "after"), [("0", "1"), ("1", "1"), ("2", "2"), ("3", "3")])
def test_more_than_the_least_stays(present: str, after: str) -> None:
    """An admin who forbids even more keeps it, now and at boot: that file comes before all others."""
    host = Server()
    host.kernel["kernel.yama.ptrace_scope"] = present
    go(host, SYSTEM)
    assert host.kernel["kernel.yama.ptrace_scope"] == after
    assert "ptrace" not in host.text(settings.SYSCTL)
    assert causes(go(host, SYSTEM)) == {}


def test_kernel_settings_that_are_refused_are_tried_once() -> None:
    host = Server()
    host.locked_keys = {"vm.swappiness"}
    tries: list[str] = []

    def sysctl(words: tuple[str, ...]) -> Answer:
        if "-p" in words:
            tries.append(words[-1])
        return host.sysctl(words)

    host.programs["sysctl"] = sysctl
    assert go(host, SYSTEM)["system:sysctl"].state is State.FAILED
    assert tries == [settings.SYSCTL]


def test_ubuntus_reporter_of_crashes_is_off_for_good() -> None:
    host = Server(distribution="ubuntu", version="24.04", codename="noble")
    host.systemd.start("apport.service")
    assert go(host, SYSTEM)["system:apport"].cause == "it keeps memory of programs that crash"
    assert "apport.service" in host.systemd.masked
    assert causes(go(host, SYSTEM)) == {}
    assert "system:apport" not in plan(Server(), SYSTEM)


def test_folders_are_watched_that_come_later() -> None:
    """The kernel takes a path that is not there for a file."""
    host = Server()
    asked = {path for path in settings.AUDITED if f"-w {path} " in rendered("system/audit.rules").decode()}
    assert asked == {*settings.AUDITED}
    missing: list[set[str]] = []

    def augenrules(words: tuple[str, ...]) -> Answer:
        missing.append(asked - host.nodes.keys())
        return host.augenrules(words)

    host.programs["augenrules"] = augenrules
    go(host, SYSTEM)
    assert missing == [set()]


def test_docker_keeps_what_it_needs_of_the_kernel() -> None:
    wanted = settings.values(rendered("system/sysctl.conf").decode())
    assert not [key for key in wanted if "forward" in key]
    assert {value for key, value in wanted.items() if key.endswith("rp_filter")} == {"2"}


def test_a_container_is_told_what_belongs_to_its_host() -> None:
    host = Server()
    host.programs["systemd-detect-virt"] = lambda words: Answer(0, "lxc\n")
    host.locked_keys = {"vm.swappiness", "kernel.kptr_restrict"}
    outcomes = go(host, SYSTEM)
    assert outcomes["system:sysctl"].state is State.CHANGE
    assert outcomes["system:sysctl"].warning == "its host decides here: kernel.kptr_restrict, vm.swappiness"
    assert not {"system:time", "system:audit", "system:swap"} & outcomes.keys()


def test_the_journal_reads_its_limits() -> None:
    host = Server()
    go(host, SYSTEM)
    host.write(settings.JOURNALD, b"[Journal]\n")
    host.write(settings.JOURNALD, rendered("system/journald.conf"))
    assert causes(go(host, SYSTEM)) == {"system:journal": "the journal has not read its settings yet"}


def test_a_clock_that_was_set_back_restarts_nothing() -> None:
    host = Server()
    go(host, SYSTEM)
    host.nodes[settings.JOURNALD] = replace(host.nodes[settings.JOURNALD], written=host.clock + 3600)
    assert causes(go(host, SYSTEM)) == {}


def test_a_banner_of_the_admins_own_stays() -> None:
    host = Server()
    host.write("/etc/issue.net", b"Hands off!\n")
    go(host, SYSTEM)
    assert host.text("/etc/issue.net") == "Hands off!\n"
    assert host.text("/etc/issue").startswith("Private system of ACME GmbH.")


def test_lines_of_a_packages_defaults_stay() -> None:
    host = Server()
    go(host, SYSTEM)
    assert host.text("/etc/default/sysstat") == '# as the package has it\nENABLED="true"\n'


@pytest.mark.parametrize("path", ["/etc/crontab", "/etc/cron.d", "/home/debian"])
def test_what_others_need_not_see(path: str) -> None:
    host = Server()
    go(host, SYSTEM)
    assert host.facts([path])[path].mode & 0o007 == 0


def test_the_boot_loaders_file_is_left_to_its_program() -> None:
    """update-grub opens it to all again with each kernel: we would never come to an end."""
    host = Server()
    host.write("/boot/grub/grub.cfg", b"", mode=0o444)
    go(host, SYSTEM)
    assert host.facts(["/boot/grub/grub.cfg"])["/boot/grub/grub.cfg"].mode == 0o444
    assert causes(go(host, SYSTEM)) == {}


@pytest.mark.parametrize(("compiles", "mode"), [(False, 0o750), (True, 0o755)])
def test_the_assembler_is_for_root_where_nobody_compiles(compiles: bool, mode: int) -> None:
    host = Server()
    if compiles:
        host.write("/usr/bin/gcc", b"", mode=0o755)
    go(host, SYSTEM)
    assert host.facts(["/usr/bin/as"])["/usr/bin/as"].mode == mode


def small() -> Server:
    host = Server()
    host.write("/proc/meminfo", b"MemTotal:       2048000 kB\n")
    return host


def test_a_small_machine_gets_swap_that_comes_back_at_boot() -> None:
    host = small()
    host.write("/etc/fstab", b"/dev/vda1 / ext4 defaults 0 1\n")
    assert plan(host, SYSTEM)["system:swap"].cause == "no swap on this small machine: to make 2048 MiB"
    go(host, SYSTEM)
    assert host.text("/etc/fstab") == f"/dev/vda1 / ext4 defaults 0 1\n{swap.LINE}\n"
    assert host.facts([swap.PATH])[swap.PATH].mode == 0o600
    assert causes(go(host, SYSTEM)) == {}


def test_swap_is_not_read_to_see_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 GiB at each look."""
    host = small()
    facts = host.facts
    monkeypatch.setattr(host, "facts", lambda paths: facts(path for path in paths if path != swap.PATH))
    go(host, SYSTEM)
    assert causes(go(host, SYSTEM)) == {}
    host.write("/proc/swaps", b"Filename Type Size Used Priority\n")
    host.programs["fallocate"] = lambda words: Answer(1, "", "it is there")
    assert causes(go(host, SYSTEM)) == {"system:swap": "no swap on this small machine: to make 2048 MiB"}


def test_swap_of_the_admins_own_is_enough() -> None:
    host = small()
    host.write("/proc/swaps", b"Filename Type\n/dev/vda2 partition 1 0 -2\n")
    assert plan(host, SYSTEM)["system:swap"].state is State.OK


def test_no_swap_file_where_it_would_break() -> None:
    host = small()
    host.programs["findmnt"] = lambda words: Answer(0, "btrfs\n")
    outcome = go(host, SYSTEM)["system:swap"]
    assert (outcome.state, outcome.warning) == (
        State.OK, "no swap on this small machine: no swap file lives on btrfs",
    )  # fmt: skip


def test_a_present_keeper_of_the_clock_is_as_good() -> None:
    host = Server()
    host.systemd.start("chrony.service")
    assert plan(host, SYSTEM)["system:time"].state is State.OK
    assert "system:time" in causes(go(Server(), SYSTEM))
