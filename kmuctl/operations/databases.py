"""Steps for PostgreSQL: a role and a database of the same name for each service that keeps data there."""

from __future__ import annotations

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import DatabaseFact, Host, Reader
from kmuctl.model.service import Database
from kmuctl.model.step import Drift, Step, unseen
from kmuctl.operations.containers import serving
from kmuctl.operations.vault import Vault, renewal

SERVER = "postgres"
SUPERUSER_SECRET = "postgres_password"  # noqa: S105 (its name)


def database_step(database: Database, vault: Vault) -> Step:
    """The role can log in with its password and owns its database, which has the right collation."""
    password = vault.values[f"{database.name}_db_password"]
    superuser = vault.values[SUPERUSER_SECRET]
    after = (f"container:{SERVER}", *([renewal(SUPERUSER_SECRET)] if SUPERUSER_SECRET in vault.previous else []))

    def check(host: Reader) -> Drift | None:
        if not serving(host, SERVER):
            return unseen("PostgreSQL")
        fact = host.cluster.databases(superuser.reveal()).get(database.name)
        if fact is None:
            return Drift("to create")
        _refuse_foreign(database, fact)
        if fact.public:
            return Drift("every role may connect to it")
        accepted = host.cluster.accepts(database.name, password.reveal())
        return None if accepted else Drift("the role's password differs from the secrets file")

    def apply(host: Host) -> None:
        host.cluster.set_role(superuser.reveal(), database.name, password.reveal())
        if database.name not in host.cluster.databases(superuser.reveal()):
            host.cluster.create_database(superuser.reveal(), database.name, database.collation)
        host.cluster.close_database(superuser.reveal(), database.name)

    return Step(name=f"database:{database.name}", check=check, apply=apply, after=after, logs=(SERVER,))


def _refuse_foreign(database: Database, fact: DatabaseFact) -> None:
    """A collation cannot be changed in place, and a foreign owner is nothing to overwrite quietly."""
    if database.collation and fact.collation != database.collation:
        raise StepFailed(
            f"database `{database.name}` has collation `{fact.collation}`, it needs `{database.collation}`",
            hint="dump it, drop it, run `kmuctl up`, and restore the dump into the new one",
        )
    if fact.owner != database.name:
        raise StepFailed(
            f"database `{database.name}` belongs to `{fact.owner}`",
            hint=f"if it is the right one: `ALTER DATABASE {database.name} OWNER TO {database.name}`",
        )
