"""The bridges that containers are on, as Docker names them."""

from __future__ import annotations

EXACT = "docker0|br-[0-9a-f]{12}"
"""A regular expression: these are Docker's beyond doubt."""
WILDCARDS = ("docker+", "br-+")
"""As iptables has them, which knows no more than a beginning."""


def named_like_dockers(interface: str) -> bool:
    """Whether our rules take it for a bridge of containers."""
    return interface.startswith(tuple(name.rstrip("+") for name in WILDCARDS))
