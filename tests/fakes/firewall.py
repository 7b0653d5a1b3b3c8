"""ufw and the packet filter, as far as `harden` talks to them: ufw's files are real ones of the fake machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kmuctl.model.host import Answer
from kmuctl.operations.harden.firewall.containers import SCRIPT, UNIT
from kmuctl.operations.harden.firewall.ufw import CONF, DEFAULTS, RULES
from tests.fakes.systemd import FakeSystemd
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class FakeFirewall:
    """A fresh ufw, switched off; nothing filters yet. What ufw is told counts in the kernel at once when it is on."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.chain: list[str] = []
        """Our rules for containers."""
        self.docker: list[str] = []
        """Docker's own rules."""
        self.user: dict[int, list[str]] = {4: [], 6: []}
        self.loaded = False
        host.write(CONF, b"ENABLED=no\nLOGLEVEL=low\n")
        host.write(DEFAULTS, b'IPV6=yes\nDEFAULT_INPUT_POLICY="ACCEPT"\nDEFAULT_FORWARD_POLICY="DROP"\n')
        for path in (*RULES.values(), "/etc/ufw/after.rules", "/etc/ufw/after6.rules"):
            host.write(path, b"*filter\nCOMMIT\n", mode=0o640)
        host.write("/proc/net/if_inet6", b"")
        host.systemd = FirewallUnits(host, self)
        host.programs |= {
            "ufw": self.ufw, "cp": self.copy,
            "iptables": lambda words: self.show(4, words), "ip6tables": lambda words: self.show(6, words),
        }  # fmt: skip

    def ufw(self, words: tuple[str, ...]) -> Answer:
        match words:
            case ("allow", "proto", protocol, "to", "any", "port", ports, "comment", comment):
                self._drop(protocol, ports)
                self.add("allow", protocol, ports, comment=comment)
            case ("--force", "delete", "allow", "proto", protocol, "to", "any", "port", ports):
                self._drop(protocol, ports)
            case ("default", "deny", "incoming"):
                self._set(DEFAULTS, "DEFAULT_INPUT_POLICY", '"DROP"')
            case ("--force", "enable" | "disable" as verb):
                self._set(CONF, "ENABLED", "yes" if verb == "enable" else "no")
                self._load(on=verb == "enable")
            case ("reload",):
                self._load(on=True)
            case _:
                raise Untaught(f"ufw {' '.join(words)}")
        return Answer(0, "")

    def add(self, action: str, protocol: str, ports: str, *, comment: str = "") -> None:
        """Also what the admin once did by hand."""
        mark = f" comment={comment.encode().hex()}" if comment else ""
        for family, path in RULES.items():
            everyone = ANYWHERE[family]
            line = f"### tuple ### {action} {protocol} {ports} {everyone} any {everyone} in{mark}\n"
            self.host.write(path, self.host.text(path).replace("COMMIT", f"{line}COMMIT").encode(), mode=0o640)
        self._load(on=self.loaded)

    def openings(self) -> list[str]:
        """What IPv4 lets in, in the order of the rules."""
        return [f"{ports}/{kind}" for kind, ports in re.findall(r"### allow (\w+) (\S+)", self._tuples(4))]

    def _tuples(self, family: int) -> str:
        return self.host.text(RULES[family]).replace("### tuple ###", "###")

    def _drop(self, protocol: str, ports: str) -> None:
        for path in RULES.values():
            text = re.sub(rf"### tuple ### \w+ {protocol} {ports} .*\n", "", self.host.text(path))
            self.host.write(path, text.encode(), mode=0o640)
        self._load(on=self.loaded)

    def _set(self, path: str, name: str, value: str) -> None:
        self.host.write(path, re.sub(rf"(?m)^{name}=.*$", f"{name}={value}", self.host.text(path)).encode())

    def _load(self, *, on: bool) -> None:
        self.loaded = on
        for family in RULES:
            rules = re.findall(r"### (\w+) (\w+) (\S+)", self._tuples(family))
            accepted = [(kind, ports) for action, kind, ports in rules if action in ("allow", "limit")]
            self.user[family] = [f"-p {kind} {_ports(ports)} -j ACCEPT" for kind, ports in accepted] if on else []

    def show(self, family: int, words: tuple[str, ...]) -> Answer:
        if words != ("-S",):
            raise Untaught(f"iptables {' '.join(words)}")
        name = "ufw6" if family == 6 else "ufw"
        policy = "DROP" if self.loaded else "ACCEPT"
        lines = [f"-P INPUT {policy}", "-P FORWARD DROP", "-P OUTPUT ACCEPT"]
        lines += [f"-A INPUT -j {name}-before-input"] * self.loaded
        lines += [f"-A {name}-user-input {rule}" for rule in self.user[family]]
        lines += self.docker
        if self.chain:
            lines += ["-N DOCKER-USER", "-N KMUCTL", "-A FORWARD -j DOCKER-USER", "-A DOCKER-USER -j KMUCTL"]
            lines += self.chain
        return Answer(0, "".join(f"{line}\n" for line in lines))

    def copy(self, words: tuple[str, ...]) -> Answer:
        *_, source, target = words
        self.host.nodes[target] = self.host.nodes[source]
        return Answer(0, "")

    def run_script(self) -> None:
        """As the unit does when it starts or reloads."""
        self.chain = re.findall(r"(?m)^-A KMUCTL .*$", self.host.text(SCRIPT))


def _ports(ports: str) -> str:
    return f"-m multiport --dports {ports}" if ":" in ports else f"-m tcp --dport {ports}"


class FirewallUnits(FakeSystemd):
    def __init__(self, host: FakeHost, firewall: FakeFirewall) -> None:
        super().__init__(host)
        self.firewall = firewall
        self.enabled.add("ufw.service")

    def look(self, words: tuple[str, ...]) -> Answer:
        match words:
            case ("show", "ssh.socket" | "sshd.socket" as unit, "--property=ActiveState,Listen"):
                return self.host.answers.get(("systemctl", "show", unit), Answer(0, "ActiveState=inactive\n"))
        return super().look(words)

    def run(self, words: tuple[str, ...]) -> Answer:
        match words:
            case ("reload-or-restart", unit) if unit == UNIT:
                self.firewall.run_script()
                return self._known(unit) or self._add(self.active, unit)
            case ("enable", "ufw.service" as unit):
                return self._add(self.enabled, unit)
        return super().run(words)
