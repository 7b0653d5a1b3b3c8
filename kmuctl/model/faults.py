"""What is wrong with a site file, in plain words: the parser's and pydantic's own are for programmers."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

TYPES = {
    "string_type": 'must be a text in quotes, like "this"',
    "bool_type": "must be `true` or `false`, without quotes",
    "int_type": "must be a whole number without quotes, like `587`",
    "tuple_type": 'must be a list, like `["198.51.100.4/32"]`',
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "missing": "is missing",
}
TOML = {
    "Invalid value": 'a value is expected: a text stands in quotes ("acme"), a switch is `true` or `false`',
    "Expected ']'": "`]` is missing after the name of a table",
    "Expected '='": '`=` is missing: a line is like `name = "ACME GmbH"`',
    "Expected newline": "something follows the value: a line holds one key, a comment begins with `#`",
    "Cannot overwrite": "this key stands twice",
    "Cannot declare": "this table stands twice",
    "Cannot mutate": "this table stands twice",
    "Invalid statement": 'a line is like `name = "ACME GmbH"`, a table begins with `[name]`',
    "Illegal character '\\n'": "a text is not closed: its quote is missing",
    "Unescaped '\\'": "a backslash in a text is written twice; between single quotes once is enough",
}
OPEN = ("at end of document)", "Unclosed")
PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def toml_fault(text: str) -> str:
    """Where it is, and what; columns from 1, as editors count. The standard parser knows the place best.

    "" when it finds nothing.
    """
    try:
        tomllib.loads(text)
    except ValueError as error:
        return _in_words(text, str(error))
    return ""


def _in_words(text: str, message: str) -> str:
    if any(sign in message for sign in OPEN):
        return f"line {_last_start(text)}: what begins here is not closed: `]`, `}}` or a quote is missing"
    place = PLACE.search(message)
    reason = PLACE.sub("", message)
    plain = next((words for start, words in TOML.items() if reason.startswith(start)), _lower(reason))
    return f"line {place[1]}, column {place[2]}: {plain}" if place else plain


def _last_start(text: str) -> int:
    """The line after the longest part of the file that is whole."""
    lines = text.splitlines(keepends=True)
    return 1 + next((count for count in range(len(lines) - 1, 0, -1) if _is_toml("".join(lines[:count]))), 0)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


def explain(detail: ErrorDetails, tables: Any) -> str:
    """One of pydantic's errors as `key.path: what is wrong`; `tables` is the model that it was found by."""
    path, kind, context = ".".join(map(str, detail["loc"])), detail["type"], detail.get("ctx", {})
    match kind:
        case "extra_forbidden":
            words = f"unknown key{_near([str(part) for part in detail['loc']], tables)}"
        case "value_error":
            words = str(context["error"])
        case "literal_error":
            words = f"must be {context['expected']}".replace("'", '"')
        case "greater_than_equal":
            words = f"must be at least {context['ge']}"
        case _:
            words = TYPES.get(kind) or _lower(detail["msg"])
    return f"{path}: {words}"


def _near(path: list[str], table: Any) -> str:
    *parents, key = path
    for parent in parents:
        field = table.model_fields.get(parent)
        table = field.annotation if field else None
        if not hasattr(table, "model_fields"):
            return ""
    close = difflib.get_close_matches(key, table.model_fields, n=1)
    return f": did you mean `{close[0]}`?" if close else ""


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
