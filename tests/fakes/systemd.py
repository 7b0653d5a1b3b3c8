"""systemd, as far as timers go."""

from __future__ import annotations

import copy
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kmuctl.model.host import Answer
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

UNITS = "/etc/systemd/system"


class FakeSystemd:
    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.loaded: dict[str, bytes] = {}
        """Units as they were at the last daemon-reload."""
        self.enabled: set[str] = set()
        self.active: set[str] = set()
        self.ends: dict[str, tuple[int, str, int]] = {}
        """How services ended last: the moment in seconds since 1970, systemd's word for it, the exit code."""

    def clone(self, host: FakeHost) -> FakeSystemd:
        twin = copy.copy(self)
        twin.host, twin.loaded = host, dict(self.loaded)
        twin.enabled, twin.active, twin.ends = set(self.enabled), set(self.active), dict(self.ends)
        return twin

    def look(self, words: tuple[str, ...]) -> Answer:
        match words:
            case ("show", "--property=NeedDaemonReload", unit):
                outdated = unit in self.loaded and self.loaded[unit] != self.host.read(f"{UNITS}/{unit}")
                return Answer(0, f"NeedDaemonReload={'yes' if outdated else 'no'}\n")
            case ("show", "--timestamp=us+utc", properties, *units) if properties.startswith("--property=Id,"):
                return Answer(0, "\n".join(self._shown(unit) for unit in units))
            case ("is-enabled", unit):
                return Answer(0, "enabled\n") if unit in self.enabled else Answer(1, "disabled\n")
            case ("is-active", unit):
                return Answer(0, "active\n") if unit in self.active else Answer(3, "inactive\n")
        raise Untaught(f"systemctl {' '.join(words)}")

    def run(self, words: tuple[str, ...]) -> Answer:
        match words:
            case ("daemon-reload",):
                self.loaded = {name: self.host.read(f"{UNITS}/{name}") or b"" for name in self.host.tree(UNITS)}
            case ("enable", unit):
                return self._known(unit) or self._add(self.enabled, unit)
            case ("start", unit) if unit.startswith("kmuctl-undo-"):
                return self.undo(unit.removeprefix("kmuctl-undo-").removesuffix(".service"))
            case ("restart", unit):
                return self._known(unit) or self._add(self.active, unit)
            case ("disable", "--now", unit):
                self.enabled.discard(unit)
                self.active.discard(unit)
            case _:
                raise Untaught(f"systemctl {' '.join(words)}")
        return Answer(0, "")

    def undo(self, name: str) -> Answer:
        """What its script says, line by line."""
        for line in self.host.text(f"/var/lib/kmuctl/undo/{name}/undo").splitlines():
            match shlex.split(line, comments=True):
                case ["{", "cp", "-a", "--", source, beside, *_]:
                    self.host.nodes[beside.removesuffix(".undo")] = self.host.nodes[source]
                case ["mv", *_]:
                    pass  # done with the line before
                case ["rm", "-f", "--", path, "||", _]:
                    self.host.remove(path)
                case ["rm", "-rf", *paths]:
                    for path in paths:
                        self.host.remove(path)
                case ["date", *_, marker]:
                    self.host.write(marker.removeprefix(">"), b"2026-11-28 20:00:00 UTC\n")
                case ["systemctl", *words] if "||" not in words:
                    self.run(tuple(words))
                case [*command, "||", "failed=1"]:
                    self.host.run(tuple(command))
        return Answer(0, "")

    def _shown(self, unit: str) -> str:
        """A service that a timer started has ended; with what, `ends` says."""
        moment, result, code = self.ends.get(unit, (0, "success", 0))
        ended = f"{datetime.fromtimestamp(moment, UTC):%a %Y-%m-%d %H:%M:%S.%f} UTC" if moment else ""
        state = "active" if unit in self.active else "inactive"
        return (
            f"Id={unit}\nActiveState={state}\nResult={result}\nExecMainStatus={code}\nExecMainExitTimestamp={ended}\n"
        )

    def _known(self, unit: str) -> Answer | None:
        return None if unit in self.loaded else Answer(1, "", f"Unit {unit} not found.")

    def _add(self, units: set[str], unit: str) -> Answer:
        units.add(unit)
        return Answer(0, "")
