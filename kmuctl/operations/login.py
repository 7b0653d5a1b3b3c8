"""A link that signs a person in without a password: the first time, and whenever somebody is locked out."""

from __future__ import annotations

import re

from kmuctl.model.errors import HostError
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.operations.authentik.api import WORKER

MINUTES = 60
LINK = re.compile(r"^/recovery/use-token/\S+$", re.MULTILINE)


def require_worker(stack: Stack, host: Reader) -> None:
    fact = host.engine.containers(stack.project, [WORKER]).get(WORKER)
    if fact is None or fact.state != "running":
        raise HostError(f"{WORKER} is {fact.state if fact else 'not there'}", hint="`kmuctl up` starts it")


def login_link(stack: Stack, host: Host, user: str) -> str:
    """A link for one hour. Raises HostError when Authentik knows nobody of that name."""
    command = ("ak", "create_recovery_key", str(MINUTES), "--", user)
    answer = host.engine.execute(stack.project, WORKER, command)
    found = LINK.search(answer.stdout)
    if found is None:
        hint = "`kmuctl status` shows whether Authentik is well; it makes its first accounts a minute after its start"
        raise HostError(f"Authentik makes no link for `{user}`: {answer.reason}", hint=hint)
    return stack.site.url("auth") + found[0]
