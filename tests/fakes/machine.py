"""What a fresh server looks like to the preflight."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from tests.fakes.host import FakeHost


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a fresh server looks like to the preflight; a test changes the one thing it is about."""

    user: int = 0
    docker: str = "Docker version 28.3.0, build 1"
    compose: str = "2.38.1\n"
    listeners: str = ""
    routes: list[dict[str, str]] = field(default_factory=lambda: [{"dst": "default", "dev": "eth0"}])
    memory: int = 16384
    disk: int = 102400
    systemd: bool = True

    def host(self) -> FakeHost:
        host = FakeHost()
        host.teach("id", "-u", stdout=f"{self.user}\n")
        host.teach("docker", "--version", stdout=self.docker)
        host.teach("docker", "compose", "version", "--short", stdout=self.compose)
        host.teach("ss", "-H", stdout=self.listeners)
        host.teach("ip", "-json", "-4", "route", "show", stdout=json.dumps(self.routes))
        host.teach("df", "-Pk", stdout=f"Filesystem 1024-blocks Used Available\n/dev/a 9 9 {self.disk * 1024} 1% /\n")
        host.write("/proc/meminfo", f"MemTotal:       {self.memory * 1024} kB\nMemFree: 1 kB\n".encode())
        host.write("/var/run/docker.sock", b"")
        if self.systemd:
            host.make_folder("/run/systemd/system", mode=0o755, uid=0)
        return host
