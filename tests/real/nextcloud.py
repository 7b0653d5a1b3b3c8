"""A real Nextcloud as the steps of `kmuctl up` meet it: commands run inside its machine, pages at a URL."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from time import monotonic
from types import SimpleNamespace
from typing import Any

import httpx

from kmuctl.model.host import Answer, Call, ContainerFact, Reply
from tests.support import stack

INSIDE = shlex.split(os.environ.get("KMU_REAL_NEXTCLOUD", ""))
URL = os.environ.get("KMU_REAL_NEXTCLOUD_URL", "").rstrip("/")


def inside(*command: str, stdin: bytes = b"") -> Answer:
    done = subprocess.run([*INSIDE, *command], input=stdin, capture_output=True, check=False)
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def put(path: str, content: bytes, mode: str = "0644") -> None:
    script = f"mkdir -p $(dirname {path}) && cat >{path} && chmod {mode} {path} && chown 33:33 {path}"
    assert inside("sh", "-c", script, stdin=content).code == 0


CONTAINERS = [container.name for container in stack().containers()]


class RealHost:
    """What the steps look at and change; `sent` are the changes, `looks` the seconds that each reading took."""

    at_once = 6

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.looks: list[float] = []
        self.files: dict[str, bytes] = {}
        """Of the host, by path; what lies below Nextcloud's data folder is looked up there."""
        self.http: Any = SimpleNamespace(ask=self._exchange)
        self.engine: Any = SimpleNamespace(containers=self._containers, execute=self._execute, ask=self._ask)

    def read(self, path: str) -> bytes | None:
        _, found, below = path.partition("/data/nextcloud/html/data/")
        if not found:
            return self.files.get(path)
        script = f'cat "$(php /var/www/html/occ config:system:get datadirectory)/{below}"'
        answer = inside("setpriv", "--reuid=33", "--regid=33", "--clear-groups", "sh", "-c", script)
        return answer.stdout.encode() if answer.code == 0 else None

    def _containers(self, project: str, names: Iterable[str] | None = None) -> dict[str, ContainerFact]:
        return {name: ContainerFact(state="running", health="healthy") for name in names or CONTAINERS}

    def _ask(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        begin = monotonic()
        answer = inside(*command, stdin=stdin)
        self.looks.append(monotonic() - begin)
        return answer

    def _execute(self, project: str, container: str, command: Sequence[str], stdin: bytes = b"") -> Answer:
        self.sent.append(" ".join(command))
        return inside(*command, stdin=stdin)

    def _exchange(self, call: Call) -> Reply:
        user = (call.user[0], call.user[1].reveal()) if call.user else None
        answer = httpx.request(call.method, URL + call.path, headers=dict(call.headers), auth=user, timeout=60)
        return Reply(answer.status_code, answer.text)
