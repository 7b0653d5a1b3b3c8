"""A small reader of Caddyfiles: blocks of words, with the snippets filled in where they are imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = re.compile(r'`[^`]*`|"(?:\\.|[^"\\])*"|[^\s]+')


@dataclass
class Line:
    words: list[str]
    block: list[Line] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.words[0] if self.words else ""


def read(text: str) -> list[Line]:
    """The top level: options, snippets and sites."""
    root = Line([])
    stack = [root]
    for raw in text.splitlines():
        words = [] if raw.strip().startswith("#") else TOKEN.findall(raw)
        if words == ["}"]:
            stack.pop()
        elif words:
            opens = words[-1] == "{"
            line = Line(words[:-1] if opens else words)
            stack[-1].block.append(line)
            if opens:
                stack.append(line)
    if stack != [root]:
        raise ValueError("unbalanced braces")
    return root.block


def sites(text: str) -> dict[str, list[Line]]:
    """Each site's directives by its address, without `http://`, imports filled in."""
    top = read(text)
    snippets = {line.name.strip("()"): line.block for line in top if line.name.startswith("(")}
    addresses = [line for line in top if line.words and not line.name.startswith("(")]
    return {line.name.removeprefix("http://"): list(_filled(line.block, snippets)) for line in addresses}


def _filled(lines: list[Line], snippets: dict[str, list[Line]]) -> Iterator[Line]:
    for line in lines:
        if line.name != "import":
            yield Line(line.words, list(_filled(line.block, snippets)))
            continue
        _, snippet, *arguments = line.words
        for inner in _filled([_given(part, arguments, line.block) for part in snippets[snippet]], snippets):
            yield from line.block if inner.words == ["{block}"] else [inner]


def _given(line: Line, arguments: list[str], block: list[Line]) -> Line:
    words = [
        arguments[int(match[1])] if (match := re.fullmatch(r"{args\[(\d)]}", word)) else word for word in line.words
    ]
    inner = [
        part
        for child in line.block
        for part in (block if child.words == ["{block}"] else [_given(child, arguments, block)])
    ]
    return Line(words, inner)


def walk(lines: list[Line]) -> Iterator[Line]:
    for line in lines:
        yield line
        yield from walk(line.block)


def upstreams(lines: list[Line]) -> set[str]:
    """Everything that is passed on or asked, as `name:port`."""
    return {word for line in walk(lines) if line.name in {"reverse_proxy", "forward_auth"} for word in line.words[1:]}
