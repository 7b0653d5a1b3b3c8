"""Which ports have to be open: those of the site, and every one that SSH may come through."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kmuctl.model.host import Reader
from kmuctl.model.stack import Stack
from kmuctl.operations.harden.openssh import SSHD, broken

SSH = "SSH"
"""The purpose of its openings; a rule's comment remembers it."""
NO_PROGRAM = 127
SOCKETS = ("ssh.socket", "sshd.socket")


@dataclass(frozen=True, slots=True, order=True)
class Opening:
    """A port or range, `49160:49200`, as ufw and iptables write it."""

    protocol: str
    ports: str
    purpose: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.ports.replace(':', '-')}/{self.protocol}"


def openings(stack: Stack, host: Reader) -> list[Opening]:
    """SSH first: whatever goes wrong later, the way in is there."""
    ssh = (Opening("tcp", str(number), SSH) for number in sorted(ssh_ports(host)))
    return [*dict.fromkeys((*ssh, *site_openings(stack)))]


def site_openings(stack: Stack) -> list[Opening]:
    """Those of the services, and whatever else the company wants reachable."""
    services = [(port.span, port.protocol, port.purpose) for port in stack.ports()]
    own = [(*port.split("/"), "the site file's own") for port in stack.site.harden.ports]
    return [*dict.fromkeys(Opening(protocol, span.replace("-", ":"), why) for span, protocol, why in services + own)]


def ssh_ports(host: Reader) -> set[int]:
    """What sshd's files say, what listens, and what this session came through need not be the same."""
    entry = host.entry().ssh_port
    return _configured(host) | _listening(host) | _by_socket(host) | ({entry} if entry else set())


def _configured(host: Reader) -> set[int]:
    answer = host.query((SSHD, "-T"))
    if answer.code not in (0, NO_PROGRAM):
        raise broken(answer)
    return {int(number) for number in re.findall(r"^port (\d+)$", answer.stdout, re.MULTILINE)}


def _listening(host: Reader) -> set[int]:
    """On loopback stand what people forward through SSH."""
    lines = host.query(("ss", "-Hltnp")).stdout.splitlines()
    sockets = (line.split()[3].rpartition(":") for line in lines if '"sshd"' in line)
    return {int(port) for address, _, port in sockets if not address.startswith(("127.", "[::1"))}


def _by_socket(host: Reader) -> set[int]:
    """Where systemd listens for sshd, as Ubuntu has it."""
    ports: set[int] = set()
    for unit in SOCKETS:
        said = host.query(("systemctl", "show", unit, "--property=ActiveState,Listen")).stdout
        if "ActiveState=active" in said.splitlines():
            ports |= {int(number) for number in re.findall(r"^Listen=\S*?(\d+) \(Stream\)$", said, re.MULTILINE)}
    return ports
