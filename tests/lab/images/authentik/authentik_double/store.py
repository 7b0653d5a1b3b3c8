"""Objects as JSON rows, in PostgreSQL or in memory; one transaction is one lock, one load, one write."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, Protocol
from uuid import uuid4

import psycopg

Row = dict[str, Any]
INTEGER_KEYS = ("authentik_core.user", "authentik_providers_")
INTEGER_REFERENCES = ("user", "provider", "providers", "backchannel_providers")
LOCK = 20260805


class Rows:
    """All objects of the installation: model name -> primary key -> row."""

    def __init__(self, loaded: dict[tuple[str, str], Row]) -> None:
        self.models: dict[str, dict[str, Row]] = {}
        for (model, key), row in loaded.items():
            self.models.setdefault(model, {})[key] = row

    def all(self, prefix: str) -> list[Row]:
        """Rows of one model; a name that ends in "." or "_" means every model below it."""
        names = [name for name in self.models if name == prefix or (prefix[-1] in "._" and name.startswith(prefix))]
        return [row for name in names for row in self.models[name].values()]

    def find(self, prefix: str, **fields: Any) -> Row | None:
        for row in self.all(prefix):
            if all(row.get(name) == value for name, value in fields.items()):
                return row
        return None

    def model_of(self, key: Any) -> str | None:
        return next((name for name, rows in self.models.items() if str(key) in rows), None)

    def add(self, model: str, **fields: Any) -> Row:
        row = {"pk": self._new_key(model), **fields}
        self.models.setdefault(model, {})[str(row["pk"])] = row
        return row

    def delete(self, key: Any) -> None:
        """Removes a row, what cannot exist without it, and every other mention of it."""
        owner = self.model_of(key)
        if owner is None:
            return
        del self.models[owner][str(key)]
        for model in [name for name in self.models if name.startswith("authentik_")]:
            for row in list(self.models[model].values()):
                self._forget(model, row, key)

    def _forget(self, model: str, row: Row, key: Any) -> None:
        for name, value in list(row.items()):
            if isinstance(key, int) and name not in INTEGER_REFERENCES:
                continue
            if isinstance(value, list) and key in value:
                value.remove(key)
            elif name != "pk" and value == key:
                row[name] = None
                if model.endswith(("policybinding", "flowstagebinding", "core.token")):
                    self.delete(row["pk"])
                    return

    def _new_key(self, model: str) -> int | str:
        # One sequence for all integer keys: users and providers never share a number.
        if not model.startswith(INTEGER_KEYS) or model.endswith("mapping"):
            return str(uuid4())
        counter = self.models.setdefault("double.sequence", {}).setdefault("1", {"pk": "1", "value": 0})
        counter["value"] += 1
        return int(counter["value"])


class Store(Protocol):
    def transaction(self) -> Any: ...

    def ping(self) -> bool: ...


class MemoryStore:
    """For tests without a database."""

    def __init__(self) -> None:
        self._saved: dict[tuple[str, str], str] = {}
        self._lock = RLock()

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        with self._lock:
            rows = Rows({key: json.loads(text) for key, text in self._saved.items()})
            yield rows
            self._saved = _dump(rows)

    def ping(self) -> bool:
        return True


class PostgresStore:
    def __init__(self, conninfo: dict[str, str | int]) -> None:
        self._conninfo = conninfo

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        with psycopg.connect(**self._conninfo) as connection:  # type: ignore[arg-type]
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            found = connection.execute("SELECT model, pk, data FROM authentik_object ORDER BY number").fetchall()
            before = {(model, pk): json.dumps(data, sort_keys=True) for model, pk, data in found}
            rows = Rows({(model, pk): data for model, pk, data in found})
            yield rows
            _write(connection, before, _dump(rows))

    def ping(self) -> bool:
        try:
            with psycopg.connect(**self._conninfo) as connection:  # type: ignore[arg-type]
                connection.execute("SELECT 1 FROM authentik_object LIMIT 1")
        except psycopg.Error:
            return False
        return True

    def migrate(self) -> None:
        with psycopg.connect(**self._conninfo) as connection:  # type: ignore[arg-type]
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            connection.execute(
                "CREATE TABLE IF NOT EXISTS authentik_object (number bigserial, model text, pk text,"
                " data jsonb NOT NULL, PRIMARY KEY (model, pk))"
            )


def _dump(rows: Rows) -> dict[tuple[str, str], str]:
    return {
        (model, key): json.dumps(row, sort_keys=True)
        for model, members in rows.models.items()
        for key, row in members.items()
    }


def _write(
    connection: psycopg.Connection[Any], before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]
) -> None:
    for key in before.keys() - after.keys():
        connection.execute("DELETE FROM authentik_object WHERE model = %s AND pk = %s", key)
    for key, text in after.items():
        if before.get(key) != text:
            connection.execute(
                "INSERT INTO authentik_object (model, pk, data) VALUES (%s, %s, %s)"
                " ON CONFLICT (model, pk) DO UPDATE SET data = EXCLUDED.data",
                (*key, text),
            )
