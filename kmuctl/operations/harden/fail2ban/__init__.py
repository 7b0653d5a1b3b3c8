"""fail2ban: whoever tries passwords or doors is kept out, for longer each time."""

from __future__ import annotations

from kmuctl.operations.harden.fail2ban.steps import part

__all__ = ["part"]
