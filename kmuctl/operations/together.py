"""Questions that do not depend on each other, asked at the same time: a host may be far away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")
AT_ONCE = 6


def together(questions: Iterable[Callable[[], Answer]]) -> list[Answer]:
    """The answers in the order of the questions; the first of them that raises is the one that counts."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [future.result() for future in [pool.submit(question) for question in questions]]
