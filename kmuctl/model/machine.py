"""What kind of machine a host is: read once by the preflight of `harden`, because packages differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    distribution: str
    """`debian` or `ubuntu`, as ID in os-release(5)."""
    version: str
    """`13`, `24.04`."""
    codename: str
    """`trixie`, `noble`."""
    architecture: str
    """As dpkg names it: `amd64`, `arm64`."""
    memory: int
    """MiB."""

    def __str__(self) -> str:
        return f"{self.distribution.capitalize()} {self.version} ({self.architecture})"
