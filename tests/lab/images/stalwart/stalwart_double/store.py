"""Registry rows as JSON, in PostgreSQL or in memory; one transaction is one lock, one load, one write."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, Protocol

import psycopg

Row = dict[str, Any]
Tables = dict[str, dict[str, Row]]
LOCK = 20260817


class Store(Protocol):
    def transaction(self) -> Any: ...


def _load(saved: dict[tuple[str, str], str]) -> Tables:
    tables: Tables = {}
    for (name, key), text in saved.items():
        tables.setdefault(name, {})[key] = json.loads(text)
    return tables


def _dump(tables: Tables) -> dict[tuple[str, str], str]:
    return {(name, key): json.dumps(row, sort_keys=True) for name, rows in tables.items() for key, row in rows.items()}


class MemoryStore:
    def __init__(self) -> None:
        self._saved: dict[tuple[str, str], str] = {}
        self._lock = RLock()

    @contextmanager
    def transaction(self) -> Iterator[Tables]:
        with self._lock:
            tables = _load(self._saved)
            yield tables
            self._saved = _dump(tables)


class PostgresStore:
    def __init__(self, conninfo: dict[str, Any]) -> None:
        self._conninfo = conninfo

    def create(self) -> None:
        with psycopg.connect(**self._conninfo) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS s (object text, id text, data jsonb NOT NULL, PRIMARY KEY (object, id))"
            )

    @contextmanager
    def transaction(self) -> Iterator[Tables]:
        with psycopg.connect(**self._conninfo) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            found = connection.execute("SELECT object, id, data FROM s").fetchall()
            before = {(name, key): json.dumps(data, sort_keys=True) for name, key, data in found}
            tables = _load(before)
            yield tables
            _write(connection, before, _dump(tables))


def _write(connection: Any, before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> None:
    for key in before.keys() - after.keys():
        connection.execute("DELETE FROM s WHERE object = %s AND id = %s", key)
    for key, text in after.items():
        if before.get(key) != text:
            connection.execute(
                "INSERT INTO s (object, id, data) VALUES (%s, %s, %s)"
                " ON CONFLICT (object, id) DO UPDATE SET data = EXCLUDED.data",
                (*key, text),
            )
