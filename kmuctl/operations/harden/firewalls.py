"""Whose packet filters are in force: two programs that write rules undo each other's, sooner or later."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kmuctl.model.host import Reader
from kmuctl.operations.harden.bridges import EXACT

OURS = re.compile(r"ufw6?-|DOCKER|KMUCTL|f2b-|ts-|LIBVIRT_")
"""Chains of ufw, Docker, ours, fail2ban, and those of Tailscale and libvirt, which get along with each other."""
BRIDGE = re.compile(rf"-[io] ({EXACT})\b")
WAY = re.compile(r"-A FORWARD ([^!]* )?-[io] \S+ [^!]*-j ACCEPT$")
"""What a VPN or a virtual machine needs, by the name of its interface: wg-quick's guides have it so."""
TABLES = {"filter", "nat", "mangle", "raw", "security"}
"""Those that iptables keeps in nftables; a table of another name is somebody's own."""
OUR_TABLES = re.compile(r"f2b-table|docker-bridges|wg-quick-.+|libvirt_network")
SERVICES = {"firewalld": "is-active", "nftables": "is-enabled"}


def other_firewalls(host: Reader) -> Iterator[str]:
    """In words, each with what it was seen by."""
    for service, question in SERVICES.items():
        answer = host.query(("systemctl", question, service)).stdout.strip()
        if answer in ("active", "enabled"):
            yield f"another firewall is at work here: {service}.service is {answer}"
    if tables := _foreign_tables(host):
        yield f"another firewall is at work here: nftables has rules in {', '.join(tables)} (`nft list ruleset`)"
    for command in ("iptables-save", "ip6tables-save"):
        if rules := _foreign_rules(host, command):
            yield f"another firewall is at work here: `{command}` shows a rule `{rules[0]}`"


def _foreign_tables(host: Reader) -> list[str]:
    """Tables with rules that are not those of iptables, nor of our programs."""
    answer = host.query(("nft", "--json", "list", "ruleset"))
    if answer.code or not answer.stdout.strip():
        return []
    entries: list[dict[str, Any]] = json.loads(answer.stdout)["nftables"]
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    found = {(rule["family"], rule["table"]) for rule in rules}
    return [f"`{family} {name}`" for family, name in sorted(found) if not _is_known(family, name)]


def _is_known(family: str, name: str) -> bool:
    return (family in ("ip", "ip6") and name in TABLES) or bool(OUR_TABLES.fullmatch(name))


def _foreign_rules(host: Reader, command: str) -> list[str]:
    """Filter rules whose chain, target and interface are none that we know."""
    lines = host.query((command, "-t", "filter")).stdout.splitlines()
    return [line for line in lines if line.startswith("-A ") and not _is_ours(line)]


def _is_ours(rule: str) -> bool:
    chain = rule.split()[1]
    target = re.search(r"-[jg] (\S+)", rule)
    return bool(OURS.match(chain) or (target and OURS.match(target[1])) or BRIDGE.search(rule) or WAY.match(rule))
