"""A fresh server in memory, as `harden` meets it: apt, dpkg, sysctl, sshd, systemd and Docker's client and daemon.

Each program reads and writes the machine's own files, so a step that forgets one of them does not hold.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime

from kmuctl.model.host import Answer
from tests.fakes.host import FakeHost
from tests.fakes.systemd import FakeSystemd
from tests.fakes.untaught import Untaught

Words = tuple[str, ...]
NOT_FOUND = Answer(127, "", "command not found")
KEY = "ssh-ed25519 " + b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode() + " max@laptop"
SSHD = """
include /etc/ssh/sshd_config.d/*.conf
port 22
passwordauthentication yes
kbdinteractiveauthentication no
permitemptypasswords no
permitrootlogin yes
kexalgorithms curve25519-sha256,diffie-hellman-group14-sha256
ciphers aes128-ctr
macs hmac-sha1
hostkeyalgorithms ecdsa-sha2-nistp256,ssh-ed25519
hostkey /etc/ssh/ssh_host_rsa_key
hostkey /etc/ssh/ssh_host_ecdsa_key
hostkey /etc/ssh/ssh_host_ed25519_key
maxauthtries 6
logingracetime 120
clientaliveinterval 0
clientalivecountmax 3
tcpkeepalive yes
maxsessions 10
allowtcpforwarding yes
allowstreamlocalforwarding yes
allowagentforwarding yes
gatewayports no
permittunnel no
x11forwarding yes
permituserenvironment no
compression yes
loglevel INFO
authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2
"""
KNOWN_ALGORITHMS = {
    "kex": "diffie-hellman-group14-sha256 ecdh-sha2-nistp256 curve25519-sha256 sntrup761x25519-sha512@openssh.com",
    "cipher": "3des-cbc aes128-ctr aes256-ctr aes256-gcm@openssh.com chacha20-poly1305@openssh.com",
    "mac": "hmac-sha1 hmac-sha2-256-etm@openssh.com hmac-sha2-512-etm@openssh.com",
}
INSTALLED = ("base-files", "openssh-server", "systemd")
BRINGS: dict[str, dict[str, str]] = {
    "sysstat": {"/etc/default/sysstat": '# as the package has it\nENABLED="false"\n'},
    "chkrootkit": {"/usr/bin/as": ""},
    "debsums": {"/etc/default/debsums": "CRON_CHECK=never\n"},
    "cron": {"/etc/crontab": "17 * * * * root run-parts /etc/cron.hourly\n", "/etc/cron.d/e2scrub_all": "\n"},
}
STARTS = {
    "docker.io": "docker.service", "docker-ce": "docker.service", "sysstat": "sysstat.service",
    "systemd-timesyncd": "systemd-timesyncd.service", "auditd": "auditd.service",
}  # fmt: skip


class Server(FakeHost):
    """Debian 13 as a provider delivers it, with a key for root."""

    def __init__(self, *, distribution: str = "debian", version: str = "13", codename: str = "trixie") -> None:
        super().__init__()
        self.systemd: Units = Units(self)
        self.apt = Apt(self)
        self.kernel: dict[str, str] = {}
        self.locked_keys: set[str] = set()
        """Kernel settings that belong to the container's host."""
        self.matches: dict[str, dict[str, str]] = {}
        """What `Match User` blocks set, by user."""
        self.connections: list[str] = []
        """What sshd -T was asked about."""
        self.invalid = ""
        """What sshd -t says."""
        self.daemon_ends = ""
        """Why dockerd does not start with the present daemon.json."""
        self.members: list[str] = []
        self.accounts = {"root": "/root", "debian": "/home/debian", "admin": "/home/admin"}
        self.audit_rules = ""
        self._fill(distribution, version, codename)
        self.programs |= self._programs()

    def now(self) -> float:
        """Nothing but its own clock, which each writing moves on."""
        return float(self.clock)

    def _fill(self, distribution: str, version: str, codename: str) -> None:
        release = f'ID={distribution}\nVERSION_ID="{version}"\nVERSION_CODENAME={codename}\n'
        self.write("/etc/os-release", release.encode())
        self.write("/proc/meminfo", b"MemTotal:       8388608 kB\n")
        self.write("/proc/locks", b"")
        self.write("/proc/swaps", b"Filename Type Size Used Priority\n")
        self.write("/etc/issue", b"Debian GNU/Linux 13 \\n \\l\n")
        self.write("/etc/ssh/sshd_config", SSHD.encode())
        self.write("/root/.ssh/authorized_keys", f"{KEY}\n".encode(), mode=0o600)
        for kind in ("rsa", "ecdsa", "ed25519"):
            self.write(f"/etc/ssh/ssh_host_{kind}_key", b"private", mode=0o600)
        self.make_folder("/run/systemd/system", mode=0o755, uid=0)
        self.make_folder("/home/debian", mode=0o755, uid=1000)

    def _programs(self) -> dict[str, Callable[[Words], Answer]]:
        return {
            "env": self.env, "apt-get": self.apt.get, "dpkg-query": self.apt.query, "dpkg": self.apt.dpkg,
            "apt-config": self.apt.config, "/usr/lib/apt/apt-helper": self.apt.helper,
            "sysctl": self.sysctl, "/usr/sbin/sshd": self.sshd, "ssh": self.ssh, "ssh-keygen": self.keygen,
            "getent": self.getent, "gpasswd": self.gpasswd, "docker": self.docker, "dockerd": self.dockerd,
            "find": self.find, "chmod": self.chmod, "cp": self.copy, "mv": self.copy, "test": self.test,
            "swapon": self.swapon, "fallocate": self.fallocate, "mkswap": lambda words: Answer(0, ""),
            "dpkg-statoverride": lambda words: self.chmod(words[-2:]),
            "readlink": lambda words: Answer(0, f"{words[-1]}\n"),
            "augenrules": self.augenrules, "auditctl": lambda words: Answer(0, self.audit_rules),
            "id": lambda words: Answer(0, "0\n"), "iptables": lambda words: NOT_FOUND,
            "iptables-save": lambda words: NOT_FOUND, "ip6tables-save": lambda words: NOT_FOUND,
            "nft": lambda words: NOT_FOUND, "systemd-detect-virt": lambda words: Answer(0, "kvm\n"),
            "findmnt": lambda words: Answer(0, "ext4\n"), "stat": lambda words: Answer(1, "4711\n4712\n", "missing"),
            "df": lambda words: Answer(0, "Filesystem 1024-blocks Used Available\n/dev/a 9 9 52428800 1% /\n"),
            "ip": lambda words: Answer(0, '[{"dst": "default", "dev": "eth0"}]'),
        }  # fmt: skip

    def env(self, words: Words) -> Answer:
        rest = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        return self.programs[rest[0]](tuple(rest[1:]))

    def sysctl(self, words: Words) -> Answer:
        match words:
            case ("-e", "-q", "-p", path):
                wanted = dict(re.findall(r"(?m)^([\w.-]+) = (.*)$", self.text(path)))
                self.kernel |= {key: value for key, value in wanted.items() if key not in self.locked_keys}
                return Answer(int(bool(self.locked_keys & wanted.keys())), "", "permission denied")
            case ("-e", *keys):
                return Answer(0, "".join(f"{key} = {self.kernel.get(key, '7')}\n" for key in keys))
        raise Untaught(f"sysctl {words}")

    def sshd(self, words: Words) -> Answer:
        if words == ("-t",):
            return Answer(255, "", self.invalid) if self.invalid else Answer(0, "")
        if words[:2] != ("-T", "-C"):
            raise Untaught(f"sshd {words}")
        self.connections.append(words[2])
        user = words[2].partition(",")[0].removeprefix("user=")
        found = self._sshd() | {name: [value] for name, value in self.matches.get(user, {}).items()}
        return Answer(0, "".join(f"{name} {value}\n" for name, values in found.items() for value in values))

    def _sshd(self) -> dict[str, list[str]]:
        """The first file that names a setting counts; only host keys add up within one file."""
        found: dict[str, list[str]] = {}
        for path in [*self._included(), "/etc/ssh/sshd_config"]:
            own: dict[str, list[str]] = {}
            for line in self.text(path).splitlines():
                if line and not line.startswith(("#", "include")):
                    name, value = line.split(" ", 1)
                    own.setdefault(name.lower(), []).append(value)
            found = own | found
        return found

    def _included(self) -> list[str]:
        folder = "/etc/ssh/sshd_config.d"
        return (
            [f"{folder}/{name}" for name in self.tree(folder)] if "include" in self.text("/etc/ssh/sshd_config") else []
        )

    def ssh(self, words: Words) -> Answer:
        return Answer(0, KNOWN_ALGORITHMS[words[1]].replace(" ", "\n"))

    def keygen(self, words: Words) -> Answer:
        return Answer(0, "3072 SHA256:abc root@server (RSA)\n")

    def getent(self, words: Words) -> Answer:
        match words:
            case ("passwd",):
                return Answer(0, "".join(f"{self._account(name)}\n" for name in self.accounts))
            case ("passwd", name):
                return Answer(0, f"{self._account(name)}\n") if name in self.accounts else Answer(2, "")
            case ("group", "docker"):
                return Answer(0, f"docker:x:999:{','.join(self.members)}\n")
        raise Untaught(f"getent {words}")

    def _account(self, name: str) -> str:
        return f"{name}:x:1000:1000::{self.accounts[name]}:/bin/bash"

    def gpasswd(self, words: Words) -> Answer:
        _, user, _ = words
        if user not in self.accounts:
            return Answer(3, "", f"gpasswd: user '{user}' does not exist")
        self.members.append(user)
        return Answer(0, "")

    def docker(self, words: Words) -> Answer:
        if not {"docker.io", "docker-ce"} & self.apt.installed:
            return NOT_FOUND
        compose = {"docker-compose", "docker-compose-plugin", "docker-compose-v2"} & self.apt.installed
        match words:
            case ("--version",):
                return Answer(0, "Docker version 26.1.5\n")
            case ("compose", "version", "--short"):
                return Answer(0, "2.26.1\n") if compose else Answer(1, "", "docker: 'compose' is not a docker command")
            case ("buildx", "version"):
                return Answer(int(not {"docker-buildx", "docker-buildx-plugin"} & self.apt.installed), "")
        raise Untaught(f"docker {words}")

    def dockerd(self, words: Words) -> Answer:
        return Answer(0, "") if {"docker.io", "docker-ce"} & self.apt.installed else NOT_FOUND

    def chmod(self, words: Words) -> Answer:
        mode, path = words
        node = self.nodes[path]
        self.nodes[path] = type(node)(node.content, int(mode, 8), node.uid, node.written)
        return Answer(0, "")

    def copy(self, words: Words) -> Answer:
        *_, source, target = words
        self.nodes[target] = self.nodes[source]
        return Answer(0, "")

    def test(self, words: Words) -> Answer:
        return Answer(int(words[0] == "-e" and words[1] not in self.nodes), "")

    def find(self, words: Words) -> Answer:
        """Which of these files a process has open."""
        folder, *_ = words
        links = [self.text(f"{folder}/{name}") for name in self.tree(folder)]
        return Answer(0, "".join(f"{folder}/3\n" for link in links if link in words))

    def fallocate(self, words: Words) -> Answer:
        self.write(words[-1], b"")
        return Answer(0, "")

    def swapon(self, words: Words) -> Answer:
        self.write("/proc/swaps", (self.text("/proc/swaps") + f"{words[0]} file 2097148 0 -2\n").encode())
        return Answer(0, "")

    def augenrules(self, words: Words) -> Answer:
        self.audit_rules = self.text("/etc/audit/rules.d/kmuctl.rules")
        return Answer(0, "")


class Apt:
    def __init__(self, host: Server) -> None:
        self.host = host
        self.installed = set(INSTALLED)
        self.waiting = ["libc6", "openssl"]
        """Updates."""
        self.broken: dict[str, str] = {}
        """dpkg's status of what was cut off."""
        self.offline = ""
        """Why no list can be fetched."""
        self.failing = ""
        """A package whose installation fails."""
        self.key: bytes = b""
        """What Docker's server sends."""

    def get(self, words: Words) -> Answer:
        plain = [word for word in words if not word.startswith("-") and "::" not in word]
        match plain:
            case ["update"]:
                return (
                    Answer(100, "", f"E: {self.offline}\nE: Some index files failed\n")
                    if self.offline
                    else Answer(0, "")
                )
            case ["upgrade"] if "-s" in words:
                return Answer(0, "".join(f"Inst {name} [1] (2 Debian:13/stable [amd64])\n" for name in self.waiting))
            case ["upgrade"]:
                if "linux-image-amd64" in self.waiting:
                    self.host.write("/run/reboot-required", b"*** System restart required ***\n")
                self.waiting = []
            case ["install", *packages]:
                return self._install(packages)
            case _:
                raise Untaught(f"apt-get {words}")
        return Answer(0, "")

    def _install(self, packages: list[str]) -> Answer:
        if self.failing in packages:
            self.broken[self.failing] = "half-configured"
            complaint = "dpkg: error processing package\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n"
            return Answer(100, "", complaint)
        for name in packages:
            self.installed.add(name)
            for path, text in BRINGS.get(name, {}).items():
                self.host.write(path, text.encode(), mode=0o755 if path.startswith("/usr/bin/") else 0o644)
            if name in STARTS:
                self.host.systemd.start(STARTS[name])
        return Answer(0, "")

    def query(self, words: Words) -> Answer:
        wanted = [word for word in words if not word.startswith("--")]
        known = dict.fromkeys(self.installed, "installed") | self.broken
        shown = {name: status for name, status in known.items() if not wanted or name in wanted}
        missing = set(wanted) - set(shown)
        return Answer(int(bool(missing)), "".join(f"{name} {status}\n" for name, status in shown.items()))

    def dpkg(self, words: Words) -> Answer:
        if words == ("--print-architecture",):
            return Answer(0, "amd64\n")
        assert words[-2:] == ("--configure", "-a")
        self.installed |= self.broken.keys()
        self.broken = {}
        return Answer(0, "")

    def config(self, words: Words) -> Answer:
        folder = "/etc/apt/apt.conf.d"
        lines = [line for name in self.host.tree(folder) for line in self.host.text(f"{folder}/{name}").splitlines()]
        return Answer(0, "".join(f"{line}\n" for line in lines if not line.startswith("//")))

    def helper(self, words: Words) -> Answer:
        if self.offline:
            return Answer(100, "", f"E: {self.offline}")
        self.host.write(words[2], self.key)
        return Answer(0, "")


class Units(FakeSystemd):
    """Those of the distribution too."""

    host: Server

    def __init__(self, host: Server) -> None:
        super().__init__(host)
        self.since: dict[str, int] = {}
        self.masked: set[str] = set()
        for unit in ("ssh.service", "systemd-journald.service", "apt-daily.timer", "apt-daily-upgrade.timer"):
            self.start(unit)

    def start(self, unit: str) -> None:
        self.enabled.add(unit)
        self.active.add(unit)
        self.since[unit] = self.host.tick()

    def look(self, words: Words) -> Answer:
        match words:
            case ("show", "--timestamp=us+utc", "--property=ExecMainStartTimestamp", unit):
                moment = datetime.fromtimestamp(self.since.get(unit, 0), UTC)
                return Answer(0, f"ExecMainStartTimestamp={moment:%a %Y-%m-%d %H:%M:%S.%f} UTC\n")
            case ("is-enabled", unit) if unit in self.masked:
                return Answer(1, "masked\n")
            case ("is-active", *units):
                states = ["active" if self._is_active(unit) else "inactive" for unit in units]
                return Answer(0, "\n".join(states) + "\n")
        return super().look(words)

    def _is_active(self, unit: str) -> bool:
        return unit in self.active or f"{unit}.service" in self.active

    def run(self, words: Words) -> Answer:
        match words:
            case ("restart", "docker.service") if self.host.daemon_ends and self.host.facts(
                ["/etc/docker/daemon.json"]
            ):
                self.active.discard("docker.service")
                return Answer(1, "", self.host.daemon_ends)
            case ("restart" | "start", unit) if not unit.startswith("kmuctl-"):
                self.start(unit)
            case ("enable", "--now", unit):
                self.start(unit if "." in unit else f"{unit}.service")
            case ("mask", "--now", unit):
                self.masked.add(unit)
                self.active.discard(unit)
            case ("reload" | "try-reload-or-restart" | "unmask" | "reset-failed", _):
                pass
            case ("enable", unit) if unit in self.enabled:
                pass
            case _:
                return super().run(words)
        return Answer(0, "")
