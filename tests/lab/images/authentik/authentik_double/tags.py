"""The YAML tags of blueprints: reading them, then evaluating them against the objects that exist."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .store import Row, Rows


class BlueprintInvalid(Exception):
    """What the real server refuses, or would swallow silently and nobody wants."""


@dataclass(frozen=True)
class Tag:
    name: str
    value: Any


class Loader(yaml.SafeLoader):
    """SafeLoader plus `!Name` on scalars, lists and mappings."""


def _construct(loader: Loader, name: str, node: yaml.Node) -> Tag:
    if isinstance(node, yaml.ScalarNode):
        return Tag(name, loader.construct_scalar(node))
    if isinstance(node, yaml.SequenceNode):
        return Tag(name, loader.construct_sequence(node, deep=True))
    raise BlueprintInvalid(f"!{name}: neither a scalar nor a list")


Loader.add_multi_constructor("!", _construct)

CONDITIONS: dict[str, Callable[[list[Any]], bool]] = {
    "AND": all,
    "NAND": lambda values: not all(values),
    "OR": any,
    "NOR": lambda values: not any(values),
    "XOR": lambda values: sum(map(bool, values)) % 2 == 1,
    "XNOR": lambda values: sum(map(bool, values)) % 2 == 0,
    "EQ": lambda values: all(value == values[0] for value in values),
    "NEQ": lambda values: any(value != values[0] for value in values),
}


@dataclass
class Evaluator:
    rows: Rows
    context: dict[str, Any]
    ids: dict[str, Row] = field(default_factory=dict)
    loops: list[tuple[Any, Any]] = field(default_factory=list)
    # Inside !If and !Condition a null result is a question; elsewhere it is a reference that got lost.
    may_miss: bool = False

    def resolve(self, value: Any) -> Any:
        if isinstance(value, Tag):
            return self._evaluate(value)
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        return value

    def question(self, value: Any) -> Any:
        before, self.may_miss = self.may_miss, True
        try:
            return self.resolve(value)
        finally:
            self.may_miss = before

    def _evaluate(self, tag: Tag) -> Any:
        method = getattr(self, "tag_" + tag.name.lower(), None)
        if method is None:
            raise BlueprintInvalid(f"unknown YAML tag !{tag.name}")
        return method(tag.value)

    def _missing(self, what: str, default: list[Any]) -> Any:
        # The real server takes null and goes on. The double is a linter here, on purpose.
        if default:
            return self.resolve(default[0])
        if self.may_miss:
            return None
        raise BlueprintInvalid(f"{what}: not found (the real server would silently use null)")

    def tag_keyof(self, value: Any) -> Any:
        if value not in self.ids:
            raise BlueprintInvalid(f"!KeyOf {value}: no earlier entry has this id (or it was skipped)")
        return self.ids[value]["pk"]

    def tag_find(self, value: Any) -> Any:
        hit = self._find(value)
        return hit["pk"] if hit else self._missing(f"!Find {value}", [])

    def tag_findobject(self, value: Any) -> Any:
        hit = self._find(value)
        return public(hit) if hit else self._missing(f"!FindObject {value}", [])

    def _find(self, value: list[Any]) -> Row | None:
        model, *conditions = value
        wanted = [(str(self.resolve(name)), self.resolve(expected)) for name, expected in conditions]
        return next((row for row in self.rows.all(self.resolve(model)) if matches(row, wanted)), None)

    def tag_context(self, value: Any) -> Any:
        name, *default = value if isinstance(value, list) else [value]
        return self.resolve(self.context[name]) if name in self.context else self._missing(f"!Context {name}", default)

    def tag_env(self, value: Any) -> Any:
        name, *default = value if isinstance(value, list) else [value]
        return os.environ.get(name) or self._missing(f"!Env {name}", default)

    def tag_file(self, value: Any) -> Any:
        path, *default = value if isinstance(value, list) else [value]
        try:
            return Path(self.resolve(path)).read_text(encoding="utf-8").strip()
        except OSError:
            return self._missing(f"!File {path}", default)

    def tag_format(self, value: list[Any]) -> str:
        form, *arguments = value
        try:
            return str(self.resolve(form) % tuple(self.resolve(argument) for argument in arguments))
        except (TypeError, ValueError) as error:
            raise BlueprintInvalid(f"!Format {form}: {error}") from error

    def tag_if(self, value: list[Any]) -> Any:
        condition, *branches = value
        outcome = bool(self.question(condition))
        if not branches:
            return outcome
        return self.resolve(branches[0] if outcome else branches[1])

    def tag_condition(self, value: list[Any]) -> bool:
        operator, *operands = value
        if operator not in CONDITIONS or not operands:
            raise BlueprintInvalid(f"!Condition {operator}: unknown operator or nothing to compare")
        return CONDITIONS[operator]([self.question(operand) for operand in operands])

    def tag_enumerate(self, value: list[Any]) -> Any:
        source, kind, body = value
        iterable = self.resolve(source)
        pairs = list(iterable.items() if isinstance(iterable, dict) else enumerate(iterable))
        results = [self._loop_body(pair, body) for pair in pairs]
        if kind not in ("SEQ", "MAP"):
            raise BlueprintInvalid(f"!Enumerate: {kind} is neither SEQ nor MAP")
        return dict(results) if kind == "MAP" else results

    def _loop_body(self, pair: tuple[Any, Any], body: Any) -> Any:
        self.loops.insert(0, pair)
        try:
            return self.resolve(body)
        finally:
            self.loops.pop(0)

    def tag_index(self, value: Any) -> Any:
        return self._loop(value)[0]

    def tag_value(self, value: Any) -> Any:
        return self._loop(value)[1]

    def _loop(self, depth: Any) -> tuple[Any, Any]:
        try:
            return self.loops[int(depth)]
        except (IndexError, ValueError) as error:
            raise BlueprintInvalid(f"!Index/!Value {depth}: no such !Enumerate around it") from error

    def tag_atindex(self, value: list[Any]) -> Any:
        subject, key, *default = value
        try:
            return self.resolve(subject)[self.resolve(key)]
        except (KeyError, IndexError, TypeError):
            return self._missing(f"!AtIndex {key}", default)

    def tag_parsejson(self, value: Any) -> Any:
        try:
            return json.loads(self.resolve(value))
        except ValueError as error:
            raise BlueprintInvalid(f"!ParseJSON: {error}") from error


def public(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.startswith("_")}


def matches(row: Row, conditions: list[tuple[str, Any]]) -> bool:
    return all(_matches(row, name, expected) for name, expected in conditions)


def _matches(row: Row, name: str, expected: Any) -> bool:
    field_name, _, lookup = name.partition("__")
    value = row.get(field_name)
    if lookup in ("", "exact"):
        if isinstance(expected, dict) and isinstance(value, dict):
            return all(value.get(key) == item for key, item in expected.items())
        return bool(value == expected)
    if lookup == "iexact":
        return str(value).lower() == str(expected).lower()
    raise BlueprintInvalid(f"{name}: the double knows only the lookups exact and iexact")
