"""PostgreSQL in memory."""

from __future__ import annotations

import copy
import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING

from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import DatabaseFact

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

DEFAULT_COLLATION = "en_US.utf8"


class FakeCluster:
    """Databases and roles. The superuser's password is the one of the first start, as with the real image."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.superuser = ""
        self.found: dict[str, DatabaseFact] = {}
        self.roles: dict[str, str] = {}

    def clone(self, host: FakeHost) -> FakeCluster:
        twin = copy.copy(self)
        twin.host, twin.found, twin.roles = host, dict(self.found), dict(self.roles)
        return twin

    def start(self, folder: str) -> None:
        marker = posixpath.normpath(f"{folder}/../data/postgres/data/PG_VERSION")
        if marker not in self.host.nodes:
            self.host.write(marker, b"17\n", mode=0o600, uid=999)
            self.superuser = self.host.text(f"{folder}/secrets/postgres/postgres_password")
            self.found, self.roles = {}, {}
            self.host.http.authentik.token, self.host.http.authentik.applied = "", {}
            self.host.http.stalwart.forget()

    def databases(self, password: str) -> dict[str, DatabaseFact]:
        self._sign_in(password)
        return dict(self.found)

    def accepts(self, role: str, password: str) -> bool:
        if role == "postgres":
            return password == self.superuser
        return role in self.found and self.roles.get(role) == password

    def set_role(self, password: str, role: str, role_password: str) -> None:
        self._sign_in(password)
        if role == "postgres":
            self.superuser = role_password
        else:
            self.roles[role] = role_password

    def create_database(self, password: str, name: str, collation: str) -> None:
        self._sign_in(password)
        assert name in self.roles, f"role `{name}` must be there before its database"
        assert name not in self.found, f"database `{name}` exists"
        self.found[name] = DatabaseFact(name, collation or DEFAULT_COLLATION, public=True)

    def close_database(self, password: str, name: str) -> None:
        self._sign_in(password)
        self.found[name] = replace(self.found[name], public=False)

    def _sign_in(self, password: str) -> None:
        if "postgres" not in self.host.engine.made:
            raise HostError("PostgreSQL is not running")
        if password != self.superuser:
            raise StepFailed("PostgreSQL refuses the password of `POSTGRES_PASSWORD`")
