"""cloud-init sets up a fresh server in its first minutes, sshd and packages too: we come after it."""

from __future__ import annotations

from kmuctl.model.host import Reader
from kmuctl.model.step import Drift, Step, wait_only

NAME = "cloud-init"
ENABLED, RESULT = "/run/cloud-init/enabled", "/run/cloud-init/result.json"
DEADLINE = 600


def finished_step() -> Step:
    return Step(
        name=NAME, check=_running, apply=wait_only, deadline=DEADLINE,
        hint="`cloud-init status --long` says what it is at",
    )  # fmt: skip


def _running(host: Reader) -> Drift | None:
    """By the files that it makes: its own `status` differs from version to version."""
    present = host.facts([ENABLED, RESULT])
    return Drift("it still sets this machine up") if ENABLED in present and RESULT not in present else None
