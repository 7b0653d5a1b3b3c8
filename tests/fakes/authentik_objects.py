"""The objects inside Authentik, as its blueprints make them: enough to see what was changed since."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

from tests.tools.blueprint_lint import META, Tag, entries, load

Row = dict[str, Any]


@cache
def _parsed(text: str) -> list[dict[str, Any]]:
    return entries(load(text))


class Objects:
    """Rows by model. What a blueprint looks up and nobody made is Authentik's own: it is there."""

    def __init__(self, read_secret: Callable[[str], str]) -> None:
        self.read_secret = read_secret
        self.rows: dict[str, list[Row]] = {}

    def clone(self, read_secret: Callable[[str], str]) -> Objects:
        twin = Objects(read_secret)
        twin.rows = copy.deepcopy(self.rows)
        return twin

    def apply(self, text: str) -> None:
        known: dict[str, Row] = {}
        for entry in _parsed(text):
            if entry["model"] != META:
                self._apply(entry, known)

    def the(self, model: str, **wanted: Any) -> Row:
        return self._find(model, wanted) or self._make(model, wanted)

    def _apply(self, entry: dict[str, Any], known: dict[str, Row]) -> None:
        model, state = entry["model"], entry.get("state", "present")
        identifiers = self._resolve(entry["identifiers"], known)
        row = self._find(model, identifiers)
        if state == "absent":
            self.rows[model] = [other for other in self.rows.get(model, []) if other is not row]
            return
        fresh = row is None
        row = row or self._make(model, identifiers)
        if fresh or state == "present":
            row |= self._resolve(entry.get("attrs", {}), known)
        if "id" in entry:
            known[entry["id"]] = row

    def _make(self, model: str, values: Row) -> Row:
        rows = self.rows.setdefault(model, [])
        number = max((int(row["pk"].rpartition(":")[2]) for row in rows), default=0) + 1
        rows.append({"pk": f"{model}:{number}", **values})
        return rows[-1]

    def _find(self, model: str, wanted: Row) -> Row | None:
        rows = self.rows.get(model, [])
        return next((row for row in rows if all(row.get(name) == value for name, value in wanted.items())), None)

    def _resolve(self, value: Any, known: dict[str, Row]) -> Any:
        if isinstance(value, dict):
            return {key: self._resolve(item, known) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolve(item, known) for item in value]
        return self._tag(value, known) if isinstance(value, Tag) else value

    def _tag(self, tag: Tag, known: dict[str, Row]) -> Any:
        if tag.name == "KeyOf":
            return known[tag.value]["pk"]
        if tag.name == "File":
            return self.read_secret(tag.value.rpartition("/")[2])
        if tag.name == "Find":
            return self.the(tag.value[0], **{name: self._resolve(value, known) for name, value in tag.value[1:]})["pk"]
        return f"{tag.name} {tag.value}"
