"""Stop the stack; with `purge` remove everything that it left on the host."""

from __future__ import annotations

from kmuctl.model.errors import HostError
from kmuctl.model.host import Host
from kmuctl.model.stack import Stack
from kmuctl.operations import program, timers
from kmuctl.operations.files import DOMAIN_FILE
from kmuctl.services import CATALOG


def down(stack: Stack, host: Host) -> list[str]:
    """Stop and remove all containers and networks; what was removed. State stays.

    Volumes go too: state lives in folders, these are empty ones that images ask for.
    """
    names, volumes = sorted(host.engine.containers(stack.project)), host.engine.unnamed_volumes(stack.project)
    answer = host.run(("docker", "compose", "--project-name", stack.project, "down", "--remove-orphans"))
    if answer.code:
        raise HostError(f"`docker compose down` failed: {answer.reason}", hint="run `kmuctl down` again")
    host.engine.remove_volumes(volumes)
    return names


def purgeable(stack: Stack, host: Host) -> list[str]:
    """Paths that `--purge` removes, those that exist: what kmuctl made, for any app it knows, and nothing else."""
    folder = stack.folder
    data = (f"data/{service.name}" for service in CATALOG)
    own = host.facts(f"{folder}/{name}" for name in (*data, DOMAIN_FILE, "rendered", "secrets.env", "state"))
    return sorted([*own, *timers.installed(host), *program.installed(stack, host)])


def purge(stack: Stack, host: Host) -> list[str]:
    """Remove state, secrets, timers and rendered files for good; the site file stays."""
    paths = purgeable(stack, host)
    timers.remove(host)
    for path in paths:
        host.remove(path)
    return paths
