"""Stop the stack; with `purge` remove everything that it left on the host."""

from __future__ import annotations

from kmuctl.model.errors import HostError
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack


def down(stack: Stack, host: Host) -> list[str]:
    """Stop and remove all containers and networks; what was removed. State stays.

    Volumes go too: state lives in folders, these are empty ones that images ask for.
    """
    names = sorted(host.engine.containers(stack.project))
    answer = host.run(("docker", "compose", "--project-name", stack.project, "down", "--remove-orphans", "--volumes"))
    if answer.code:
        reason = answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else "it said nothing"
        raise HostError(f"`docker compose down` failed: {reason}", hint="run `kmuctl down` again")
    return names


def purgeable(stack: Stack, host: Host) -> list[str]:
    """Paths that `--purge` removes, those that exist."""
    folder = stack.site.host.folder
    return sorted(host.facts(f"{folder}/{name}" for name in ("data", "rendered", "secrets.env", "state")))


def purge(stack: Stack, host: Host) -> list[str]:
    """Remove state, secrets and rendered files for good; the site file stays."""
    paths = purgeable(stack, host)
    for path in paths:
        host.remove(path)
    return paths
