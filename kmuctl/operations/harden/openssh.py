"""sshd, the program: it tells what its files mean."""

from __future__ import annotations

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Answer

SSHD = "/usr/sbin/sshd"
FOLDER = "/run/sshd"


def broken(answer: Answer) -> StepFailed:
    """Also where systemd starts it at each connection, before the first one: its folder is not there yet."""
    hint = f"`{SSHD} -t` shows it"
    if FOLDER in answer.stderr:
        hint = "`systemctl start ssh.service` makes this folder, then run this again"
    return StepFailed(f"sshd does not accept its settings: {answer.reason}", hint=hint)
