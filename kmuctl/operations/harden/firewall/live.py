"""The packet filter as the kernel has it, by `iptables -S`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kmuctl.model.errors import HostError
from kmuctl.model.host import Reader
from kmuctl.operations.harden.firewall.openings import Opening

TOOLS = {4: "iptables", 6: "ip6tables"}
IPV6 = "/proc/net/if_inet6"
"""Absent where the kernel has no IPv6."""
ACCEPTED = ("ACCEPT", "ufw-user-limit-accept", "ufw6-user-limit-accept")

Chains = Mapping[str, list[list[str]]]
"""The rules of each chain, each as its words; a policy is a rule `-P`."""


def present_families(host: Reader) -> tuple[int, ...]:
    return (4, 6) if host.facts([IPV6]) else (4,)


def chains(host: Reader, family: int) -> Chains:
    answer = host.query((TOOLS[family], "-S"))
    if answer.code:
        raise HostError(
            f"`{TOOLS[family]} -S` failed: {answer.reason}", hint="`harden` needs root, and a kernel with iptables"
        )
    found: dict[str, list[list[str]]] = {}
    for line in answer.stdout.splitlines():
        kind, chain, *rest = line.split()
        rules = found.setdefault(chain, [])
        if kind != "-N":
            rules.append(["-P", *rest] if kind == "-P" else rest)
    return found


def same(one: Iterable[str], other: Iterable[str]) -> bool:
    """Two rules that differ in the order of words only, which is iptables' own choice."""
    return sorted(_atoms(one)) == sorted(_atoms(other))


def _atoms(words: Iterable[str]) -> list[str]:
    return [atom for word in words for atom in word.split(",")]


def jumps_to(rules: list[list[str]], target: str) -> bool:
    """Unconditionally, and before anything that ends the chain for every packet."""
    for rule in rules:
        if rule == ["-j", target]:
            return True
        if rule in (["-j", "RETURN"], ["-j", "ACCEPT"], ["-j", "DROP"]):
            return False
    return False


def container_bridges(found: Chains) -> list[str]:
    """Docker leads to its own chain by the interface: from FORWARD, since Docker 28 from a chain of its own."""
    lead = [rule for rules in found.values() for rule in rules if rule[-2:] == ["-j", "DOCKER"] and "-o" in rule]
    return [*dict.fromkeys(rule[rule.index("-o") + 1] for rule in lead)]


def lets_in(rules: list[list[str]], opening: Opening) -> bool:
    return any(_about(rule, opening) and rule[-1] in ACCEPTED for rule in rules)


def _about(rule: list[str], opening: Opening) -> bool:
    text = " ".join(rule)
    ports = re.search(r"--dports? (\S+)", text)
    return f"-p {opening.protocol}" in text and ports is not None and opening.ports in (*ports[1].split(","), ports[1])
