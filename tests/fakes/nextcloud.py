"""Nextcloud in memory: its occ, its app store, its pages."""

from __future__ import annotations

import copy
import json
import posixpath
import re
from typing import TYPE_CHECKING, Any

from kmuctl.model.host import Answer, Call, Reply
from kmuctl.operations.nextcloud.access import AUTHORITY
from kmuctl.operations.nextcloud.apps import FAILURE, PROBE
from kmuctl.operations.nextcloud.occ import AS_ITS_USER, OCC, PATIENCE
from kmuctl.operations.nextcloud.settings import CACHES, INSTALL, LOOK, MISSING
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

READING = ("app:list", "config:app:get", "user:info")
VALUES = {"unique-uid": "uniqueUid", "bearer-provisioning": "bearerProvisioning", "check-bearer": "checkBearer"}
COLUMNS = {"clientid": "clientId", "discoveryuri": "discoveryEndpoint", "scope": "scope"}


class FakeNextcloud:
    """Installed by its first start, as the image does; the hook puts our file in at each."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.folder = self.password = self.secret = ""
        self.version, self.maintenance, self.upgrade = "34.0.4", False, False
        self.system: dict[str, str] = {}
        self.values: dict[str, dict[str, Any]] = {"core": {}}
        self.enabled = {"files", "app_api"}
        self.store: set[str] | None = None
        """Apps that it has; None: all."""
        self.reachable = True
        self.admins = {"kmu-break-glass"}
        self.providers: list[dict[str, Any]] = []
        self.indices = 0
        """How often missing ones were added."""
        self.says = ""
        """What occ prints instead of an answer."""
        self.looks = 0

    def clone(self, host: FakeHost) -> FakeNextcloud:
        twin = copy.copy(self)
        twin.host = host
        twin.system, twin.values, twin.providers = copy.deepcopy((self.system, self.values, self.providers))
        twin.enabled, twin.admins = set(self.enabled), set(self.admins)
        return twin

    def start(self, folder: str) -> None:
        self.folder = folder
        self.password = self.password or self.host.text(f"{folder}/secrets/nextcloud/nextcloud_admin_password")
        self._install_config()

    def _install_config(self) -> None:
        self.system = {**self.system, **CACHES, **self._ours(), "version": self.version}

    def _ours(self) -> dict[str, str]:
        text = self.host.text(f"{self.folder}/nextcloud/config/zz-kmu.config.php")
        return {key: value.strip("'") for key, value in re.findall(r"^  '([\w.]+)' => (.*),$", text, re.MULTILINE)}

    def look(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        self.looks += 1
        assert command[:2] == PATIENCE, f"may wait for ever: {' '.join(command)}"
        command = command[2:]
        if command == PROBE:
            return Answer(0 if self.reachable else 6, "")
        if self.says:
            return Answer(0, self.says)
        if command == LOOK:
            return self._everything()
        name, *words = self._words(command)
        if name not in READING:
            raise Untaught(f"ask nextcloud: {' '.join(command)}")
        return self._read(name, words)

    def _everything(self) -> Answer:
        apps = {**self.values}
        for app in self.enabled:
            apps[app] = {**apps.get(app, {}), "enabled": "yes", "installed_version": "1.0"}
        lines = [self._ours(), {"system": self.system, "apps": apps}, *self.providers]
        said = "\n".join(json.dumps(line) for line in lines)
        return Answer(0 if "user_oidc" in self.enabled else 1, said)

    def _read(self, name: str, words: list[str]) -> Answer:
        if name == "app:list":
            return Answer(0, json.dumps({"enabled": dict.fromkeys(self.enabled, "1.0"), "disabled": {}}))
        if name == "user:info":
            return Answer(0 if words[0] in self.admins else 1, "{}")
        value = self.values.get(words[0], {}).get(words[1])
        return Answer(1, "") if value is None else Answer(0, f"{value}\n")

    def execute(self, command: tuple[str, ...], stdin: bytes) -> Answer:
        assert command[:2] == PATIENCE, f"may wait for ever: {' '.join(command)}"
        command = command[2:]
        self.host.http.sent.append(f"nextcloud: {' '.join(command).removeprefix(' '.join(OCC)).strip()}")
        if command == INSTALL:
            self._install_config()
            return Answer(0, "")
        if command[: len(AS_ITS_USER)] == AS_ITS_USER and "security:certificates:import" in command[-1]:
            kept = f"{posixpath.dirname(self.folder)}/data/nextcloud/html/data/files_external/uploads/{AUTHORITY}"
            self.host.write(kept, stdin, uid=33)
            return Answer(0, "")
        if command[0] == "sh":
            return self._set_password(command[2], stdin.decode())
        name, *words = self._words(command)
        known = {
            "app:enable": self._enable, "app:disable": self._disable, "config:app:set": self._set,
            "config:app:delete": self._delete, "config:system:delete": self._delete_system,
            "user_oidc:provider": self._provider, "background:cron": self._cron,
            "group:adduser": self._admit, "user:enable": self._fine, **dict.fromkeys(MISSING, self._add_indices),
        }  # fmt: skip
        if name not in known:
            raise Untaught(f"execute nextcloud: {' '.join(command)}")
        return known[name](words, stdin.decode())

    def _words(self, command: tuple[str, ...]) -> tuple[str, ...]:
        if command[: len(OCC)] != OCC or command[-1] != "-n":
            raise Untaught(f"nextcloud: {' '.join(command)}")
        return command[len(OCC) : -1]

    def _fine(self, words: list[str], stdin: str) -> Answer:
        return Answer(0, "")

    def _enable(self, words: list[str], stdin: str) -> Answer:
        [app] = words
        if not self.reachable:
            self.values.setdefault(FAILURE[0], {})[FAILURE[1]] = "1"
        if not self.reachable or (self.store is not None and app not in self.store):
            return Answer(1, f"Could not download app {app}, it was not found on the appstore\n")
        self.enabled.add(app)
        return Answer(0, f"{app} enabled\n")

    def _disable(self, words: list[str], stdin: str) -> Answer:
        self.enabled -= set(words)
        return Answer(0, "")

    def _set(self, words: list[str], stdin: str) -> Answer:
        app, key, value, *_ = words
        self.values.setdefault(app, {})[key] = value.removeprefix("--value=")
        return Answer(0, "")

    def _delete(self, words: list[str], stdin: str) -> Answer:
        self.values.get(words[0], {}).pop(words[1], None)
        return Answer(0, "")

    def _delete_system(self, words: list[str], stdin: str) -> Answer:
        del self.system[words[0]]
        return Answer(0, "")

    def _cron(self, words: list[str], stdin: str) -> Answer:
        self.values["core"]["backgroundjobs_mode"] = "cron"
        return Answer(0, "")

    def _add_indices(self, words: list[str], stdin: str) -> Answer:
        self.indices += 1
        return Answer(0, "")

    def _admit(self, words: list[str], stdin: str) -> Answer:
        self.admins.add(words[1])
        return Answer(0, "")

    def _set_password(self, script: str, password: str) -> Answer:
        if "user:resetpassword" not in script and "user:add" not in script:
            raise Untaught(script)
        self.password = password.strip()
        return Answer(0, "")

    def _provider(self, words: list[str], stdin: str) -> Answer:
        identifier, *options = words
        if not self.providers:
            number = {"id": int(self.values["core"].setdefault("providers", 0)) + 1, "identifier": identifier}
            self.values["core"]["providers"] = number["id"]
            self.providers.append({**number, "settings": {}})
        [found] = self.providers
        for option in options:
            name, _, value = option.removeprefix("--").partition("=")
            if name == "clientsecret-file":
                assert value == "php://stdin" and stdin
                self.secret = stdin
            elif name in COLUMNS:
                found[COLUMNS[name]] = value
            else:
                setting = VALUES.get(name, re.sub(r"-(\w)", lambda match: match[1].upper(), name))
                found["settings"][setting] = value == "1" if value in ("0", "1") else value
        return Answer(0, "")

    def answer(self, call: Call) -> Reply:
        if call.path == "/status.php":
            state = {"installed": True, "maintenance": self.maintenance, "needsDbUpgrade": self.upgrade}
            return Reply(200, json.dumps({**state, "versionstring": self.version}))
        if call.path == "/ocs/v2.php/cloud/user?format=json" and call.user:
            name, password = call.user
            if password.reveal() != self.password:
                return Reply(401, "")
            groups = ["admin"] if name in self.admins else []
            return Reply(200, json.dumps({"ocs": {"data": {"id": name, "groups": groups}}}))
        raise Untaught(f"{call.method} {call.path}")
