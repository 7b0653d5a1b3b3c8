"""PostgreSQL as its superuser, by psycopg, at the container's own address: no port is published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kmuctl.drivers.reach import Reach
from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import DatabaseFact

if TYPE_CHECKING:
    from psycopg import Connection, OperationalError

SERVER, PORT = "postgres", 5432
SUPERUSER = "postgres"
REFUSED = re.compile(r"authentication failed|does not exist|not permitted to log in|permission denied")
"""A failed connection carries no error code, only the server's words."""


class PostgresCluster:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def databases(self, password: str) -> dict[str, DatabaseFact]:
        query = (
            "SELECT datname, rolname, datcollate, has_database_privilege('public', datname, 'CONNECT')"
            " FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba"
        )
        with self._superuser(password, recent=True) as connection:
            rows = connection.execute(query).fetchall()
        return {name: DatabaseFact(owner, collation, public) for name, owner, collation, public in rows}

    def accepts(self, role: str, password: str) -> bool:
        from psycopg import OperationalError

        try:
            with self._connect(role, role, password, recent=True):
                return True
        except OperationalError as error:
            if REFUSED.search(str(error)):
                return False
            raise _unreachable(error) from None

    def set_role(self, password: str, role: str, role_password: str) -> None:
        """Make the role with this password, or give it this password. Only the SCRAM verifier crosses the wire."""
        from psycopg.sql import SQL, Identifier, Literal

        with self._superuser(password) as connection:
            exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
            verifier = connection.pgconn.encrypt_password(role_password.encode(), role.encode(), b"scram-sha-256")
            verb = SQL("ALTER ROLE {} LOGIN PASSWORD {}" if exists else "CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(verb.format(Identifier(role), Literal(verifier.decode())))

    def create_database(self, password: str, name: str, collation: str) -> None:
        from psycopg.sql import SQL, Identifier, Literal

        locale = SQL(" LC_COLLATE {0} LC_CTYPE {0}").format(Literal(collation)) if collation else SQL("")
        statement = SQL("CREATE DATABASE {0} OWNER {0} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name))
        with self._superuser(password) as connection:
            connection.execute(statement + locale)

    def close_database(self, password: str, name: str) -> None:
        from psycopg.sql import SQL, Identifier

        with self._superuser(password) as connection:
            connection.execute(SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(Identifier(name)))

    @contextmanager
    def _superuser(self, password: str, *, recent: bool = False) -> Iterator[Connection]:
        from psycopg import OperationalError

        try:
            with self._connect(SUPERUSER, "postgres", password, recent=recent) as connection:
                yield connection
        except OperationalError as error:
            if REFUSED.search(str(error)):
                raise StepFailed(
                    "PostgreSQL refuses the password of `POSTGRES_PASSWORD`",
                    hint="the data was made with another one: put the old `secrets.env` back from your backup",
                ) from None
            raise _unreachable(error) from None

    def _connect(self, user: str, database: str, password: str, *, recent: bool) -> Connection:
        import psycopg

        try:
            place = self._reach(SERVER, PORT, recent=recent)
        except ConnectionError as error:
            raise _unreachable(error) from None
        if place is None:
            raise HostError("PostgreSQL is not running", hint="`kmuctl up` starts it")
        return psycopg.connect(
            host=str(place.file.parent) if place.file else place.address, port=place.port, user=user, dbname=database,
            password=password, connect_timeout=5, autocommit=True, application_name="kmuctl",
        )  # fmt: skip


def _unreachable(error: OperationalError | ConnectionError) -> HostError:
    return HostError(f"cannot talk to PostgreSQL: {str(error).splitlines()[0]}", hint="`kmuctl logs postgres`")
