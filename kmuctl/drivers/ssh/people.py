"""Who can be asked while a connection is made."""

from __future__ import annotations

from typing import Protocol


class People(Protocol):
    @property
    def accepts_new_keys(self) -> bool:
        """The key of a server that nobody has met yet is taken without a question."""

    def agree(self, question: str) -> bool:
        """False when they do not, or when nobody is there."""

    def secret(self, question: str) -> str | None:
        """What they type, unseen; None when nobody is there."""
