"""Secrets that a service must be told, with the old value, before the new one counts.

All other secrets only have to change in the file: `up` brings a database role, a blueprint or a container after it. A
rotation that is cut off anywhere is finished by the next `up`, because the old value stays in the file until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kmuctl.model.errors import ConfigError
from kmuctl.model.host import Host, Reader
from kmuctl.model.service import Service
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.databases import SERVER, SUPERUSER_SECRET
from kmuctl.operations.vault import Vault, renewal


def maker(stack: Stack, name: str) -> Callable[[], str]:
    """How a new value is made. Raises ConfigError for a secret that is none, or that somebody else owns."""
    specs = {spec.name: spec for spec in stack.secrets()}
    if name not in specs:
        known = ", ".join(sorted(spec.upper() for spec in specs))
        raise ConfigError(f"no secret `{name.upper()}` in this site", hint=f"one of: {known}")
    make = specs[name].make
    if make is None:
        raise ConfigError(
            f"{name.upper()} is not kmuctl's: only its provider can change it",
            hint="change it there, write the new value into the secrets file, and run `kmuctl up`",
        )
    return make


def renewals(service: Service, vault: Vault) -> Iterator[Step]:
    """After the service's containers, before whatever asks it with these secrets."""
    known = {SUPERUSER_SECRET: superuser_step}
    own = {spec.name for spec in service.secrets}
    yield from (step(vault) for name, step in known.items() if name in own and name in vault.previous)


def superuser_step(vault: Vault) -> Step:
    old, new = vault.previous[SUPERUSER_SECRET], vault.values[SUPERUSER_SECRET]

    def check(host: Reader) -> Drift | None:
        fact = host.engine.containers(PROJECT, [SERVER]).get(SERVER)
        if fact is None or fact.health != "healthy":
            return Drift("can be seen when PostgreSQL runs", unknown=True)
        return None if host.cluster.accepts("postgres", new.reveal()) else Drift("PostgreSQL has the old password")

    def apply(host: Host) -> None:
        host.cluster.set_role(old.reveal(), "postgres", new.reveal())

    return Step(name=renewal(SUPERUSER_SECRET), check=check, apply=apply, after=(f"container:{SERVER}",))
