"""A blueprint read back: what it says about each object, with references between objects left open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.nodes import Node, SequenceNode


@dataclass(frozen=True, slots=True)
class Tag:
    """`!KeyOf`, `!Find`, `!File` and their like: only a server can say what they stand for."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    model: str
    state: str = "present"
    id: str = ""
    identifiers: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For people: the kind of object, and what it is called."""
        called = [str(value) for value in self.identifiers.values() if not isinstance(value, Tag)]
        own = [value.value for value in self.identifiers.values() if isinstance(value, Tag) and value.name == "KeyOf"]
        return " ".join([self.model.rpartition(".")[2], *(f"`{word}`" for word in own + called)])


class _Constructor(SafeConstructor):
    pass


def _tag(constructor: SafeConstructor, suffix: str, node: Node) -> Tag:
    if isinstance(node, SequenceNode):
        return Tag(suffix, constructor.construct_sequence(node, deep=True))
    return Tag(suffix, constructor.construct_scalar(node))


_Constructor.add_multi_constructor("!", _tag)


def entries(content: bytes) -> list[Entry]:
    yaml = YAML(typ="safe")
    yaml.Constructor = _Constructor
    found = yaml.load(content)["entries"]
    return [
        Entry(
            model=one["model"],
            state=one.get("state", "present"),
            id=one.get("id", ""),
            identifiers=one.get("identifiers", {}),
            attrs=one.get("attrs", {}),
        )
        for one in found
    ]
