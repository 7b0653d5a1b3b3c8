"""ufw, by its own files: what it is told there decides, and no wording of its output."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.operations.harden.firewall.openings import Opening

CONF, DEFAULTS = "/etc/ufw/ufw.conf", "/etc/default/ufw"
RULES = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
FILES = (DEFAULTS, CONF, *RULES.values(), "/etc/ufw/after.rules", "/etc/ufw/after6.rules")
"""All that `ufw default`, `ufw allow` and `ufw enable` write."""
ANYWHERE = ("0.0.0.0/0", "::/0")
MARK = "kmuctl"
"""What the comment of our own rules begins with."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for packets to this machine."""

    action: str
    protocol: str
    ports: str
    source: str
    comment: str
    plain: bool
    """From anywhere to anywhere, through every interface."""

    @property
    def lets_in(self) -> bool:
        return self.action in ("allow", "limit")

    @property
    def opening(self) -> Opening:
        return Opening(self.protocol, self.ports, self.comment.removeprefix(f"{MARK}: "))

    @property
    def ours(self) -> bool:
        return self.comment.startswith(MARK)

    def names(self, wanted: Opening) -> bool:
        return self.protocol in (wanted.protocol, "any") and wanted.ports in self.ports.split(",")

    def names_one_of(self, wanted: Iterable[Opening]) -> bool:
        return any(self.names(opening) for opening in wanted)

    def covers(self, wanted: Opening) -> bool:
        return self.lets_in and self.plain and self.names(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What ufw has been told."""

    settings: Mapping[str, str]
    rules: Mapping[int, list[Rule]]
    """By family, for packets to this machine."""

    @property
    def enabled(self) -> bool:
        return self.settings.get("ENABLED") == "YES"

    @property
    def ipv6(self) -> bool:
        return self.settings.get("IPV6") == "YES"

    @property
    def closed(self) -> bool:
        return self.settings.get("DEFAULT_INPUT_POLICY") in ("DROP", "REJECT")

    @property
    def forwards(self) -> bool:
        return self.settings.get("DEFAULT_FORWARD_POLICY") == "ACCEPT"

    @property
    def families(self) -> tuple[int, ...]:
        """Those that ufw writes rules for."""
        return (4, 6) if self.ipv6 else (4,)

    def missing(self, wanted: Iterable[Opening]) -> list[Opening]:
        known = [self.rules[family] for family in self.families]
        return [opening for opening in wanted if not all(any(rule.covers(opening) for rule in each) for each in known)]

    def outdated(self, wanted: Iterable[Opening]) -> list[Opening]:
        """Rules of ours that no port needs any more."""
        return self._openings(lambda rule: rule.ours and rule.opening not in {*wanted})

    def foreign(self, wanted: Iterable[Opening]) -> list[Opening]:
        """What the admin's own rules open besides, to everybody."""
        return self._openings(
            lambda rule: rule.lets_in and not rule.ours and rule.source in ANYWHERE and not rule.names_one_of(wanted)
        )

    def _openings(self, chosen: Callable[[Rule], bool]) -> list[Opening]:
        return [*dict.fromkeys(rule.opening for rules in self.rules.values() for rule in rules if chosen(rule))]


def look(host: Reader) -> State:
    return State(settings=_settings(host), rules={family: _rules(host, path) for family, path in RULES.items()})


def _settings(host: Reader) -> dict[str, str]:
    """`ENABLED`, `IPV6`, `DEFAULT_INPUT_POLICY` and the like; ufw's files are read by a shell."""
    text = "".join((host.read(path) or b"").decode(errors="replace") + "\n" for path in (DEFAULTS, CONF))
    return {name: value.upper() for name, value in re.findall(r'^(\w+)="?([^"\s#]*)"?', text, re.MULTILINE)}


def _rules(host: Reader, path: str) -> list[Rule]:
    text = (host.read(path) or b"").decode(errors="replace")
    found = (_rule(line.split()) for line in re.findall(r"^### tuple ### (.+)$", text, re.MULTILINE))
    return [rule for rule in found if rule]


def _rule(words: list[str]) -> Rule | None:
    """`allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 [app app] in [comment=hex]`; None for one about other packets."""
    comment = bytes.fromhex(words.pop().partition("=")[2]).decode(errors="replace") if "comment=" in words[-1] else ""
    action, protocol, ports, target, source_ports, source, *_, direction = words
    if ":" in action or not direction.startswith("in"):
        return None
    plain = target in ANYWHERE and source in ANYWHERE and source_ports == "any" and direction == "in"
    return Rule(action.partition("_")[0], protocol, ports, source, comment, plain)


def allow(host: Host, opening: Opening) -> None:
    told(host, "allow", *_words(opening), "comment", f"{MARK}: {opening.purpose}".replace("'", ""))


def forget(host: Host, opening: Opening) -> None:
    told(host, "--force", "delete", "allow", *_words(opening))


def _words(opening: Opening) -> tuple[str, ...]:
    return ("proto", opening.protocol, "to", "any", "port", opening.ports)


def with_ipv6(host: Host) -> None:
    """There is no command for it."""
    text = (host.read(DEFAULTS) or b"").decode(errors="replace")
    text, found = re.subn(r"^IPV6=.*$", "IPV6=yes", text, flags=re.MULTILINE)
    host.write(DEFAULTS, (text if found else f"{text}\nIPV6=yes\n").encode())


def told(host: Host, *words: str) -> None:
    answer = host.run(("ufw", *words))
    if answer.code:
        raise StepFailed(f"`ufw {' '.join(words)}` failed: {answer.reason}", hint="`ufw status verbose` says more")
