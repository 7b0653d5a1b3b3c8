"""fail2ban, as far as `harden` talks to it: it reads the real files of the fake machine when it starts or reloads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kmuctl.model.host import Answer
from tests.fakes.systemd import FakeSystemd
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

JAILS = "/etc/fail2ban/jail.d/kmuctl.local"
UNIT = "fail2ban.service"


class FakeFail2ban:
    """Installed as on Debian 12: enabled, and ended at once, for want of a log of sshd's."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.jails: dict[str, str] = {}
        """The files' mark by the name of each jail that runs."""
        self.state = "failed"
        self.complaint = ""
        """What it says of its configuration."""
        host.systemd = Fail2banUnit(host, self)
        host.systemd.enabled.add(UNIT)
        host.programs["fail2ban-client"] = self.client
        host.teach("journalctl", "--unit", UNIT, stdout="Server ready\nERROR Failed during configuration: no log\n")

    def client(self, words: tuple[str, ...]) -> Answer:
        match words:
            case ("-t",):
                return Answer(255, "", f"{self.complaint}\n") if self.complaint else Answer(0, "OK\n")
            case ("reload", "--restart"):
                return self.start()
            case ("get", jail, "action", "kmuctl", "loaded"):
                known = self.state == "active" and jail in self.jails
                return (
                    Answer(0, f"{self.jails[jail]}\n")
                    if known
                    else Answer(255, "", "Sorry but the jail does not exist\n")
                )
        raise Untaught(f"fail2ban-client {' '.join(words)}")

    def start(self) -> Answer:
        """A jail whose log is missing keeps the server as a whole from starting."""
        text = (self.host.read(JAILS) or b"").decode()
        logs = re.findall(r"(?m)^logpath = (.+)$", text)
        if self.complaint or len(self.host.facts(logs)) < len({*logs}):
            self.state, self.jails = "failed", {}
            return Answer(255, "", "ERROR Failed during configuration\n")
        self.state = "active"
        self.jails = dict(re.findall(r"(?ms)^\[(\S+)\]$.*?loaded=(\w+)", text))
        return Answer(0, "OK\n")


class Fail2banUnit(FakeSystemd):
    def __init__(self, host: FakeHost, fail2ban: FakeFail2ban) -> None:
        super().__init__(host)
        self.fail2ban = fail2ban

    def look(self, words: tuple[str, ...]) -> Answer:
        if words == ("is-active", UNIT):
            return Answer(0 if self.fail2ban.state == "active" else 3, f"{self.fail2ban.state}\n")
        return super().look(words)

    def run(self, words: tuple[str, ...]) -> Answer:
        match words:
            case ("restart", unit) if unit == UNIT:
                self.fail2ban.start()
                return Answer(0, "")
            case ("enable", unit) if unit == UNIT:
                return self._add(self.enabled, unit)
        return super().run(words)
