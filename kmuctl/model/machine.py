"""What kind of machine a host is: read once by the preflight of `harden`, because packages differ."""

from __future__ import annotations

from dataclasses import dataclass

CONTAINERS = ("docker", "lxc", "lxc-libvirt", "openvz", "podman", "systemd-nspawn", "wsl")


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
    virtualization: str = ""
    """As systemd-detect-virt(1) names it: `kvm`, `lxc`; "" on bare metal."""

    @property
    def container(self) -> bool:
        """It shares a kernel, so some of it is not its own to set."""
        return self.virtualization in CONTAINERS

    def __str__(self) -> str:
        return " ".join(filter(None, (self.distribution.capitalize(), self.version, f"({self.architecture})")))
