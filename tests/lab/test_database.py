"""PostgreSQL as the services found it: one role and one database for each."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.lab.stack import LabSite, containers, eventually

pytestmark = pytest.mark.lab


def address() -> str:
    networks = containers()["postgres"]["NetworkSettings"]["Networks"].values()
    return next(str(network["IPAddress"]) for network in networks)


def connect(role: str, database: str, password: str) -> psycopg.Connection:
    return psycopg.connect(
        host=address(), user=role, dbname=database, password=password, connect_timeout=5, autocommit=True
    )


@pytest.fixture
def superuser(site: LabSite) -> Iterator[psycopg.Connection]:
    with connect("postgres", "postgres", site.secrets()["postgres_password"]) as connection:
        yield connection


def test_each_service_owns_its_database(site: LabSite, superuser: psycopg.Connection) -> None:
    """K5, K103, U21: a role of the same name with no right beyond it."""
    rows = superuser.execute(
        "SELECT datname, rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
        " FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE datname <> 'postgres' AND NOT datistemplate"
    ).fetchall()
    assert sorted(rows) == sorted((base.name, base.name, False) for base in site.stack.databases())


def test_synapse_sorts_bytes(site: LabSite, superuser: psycopg.Connection) -> None:
    """K5: collation and character type C, as Synapse insists on."""
    row = superuser.execute("SELECT datcollate, datctype FROM pg_database WHERE datname = 'synapse'").fetchone()
    assert row == ("C", "C")


def test_no_role_opens_anothers_database(site: LabSite) -> None:
    """L18 K5: refused by PostgreSQL, not by good manners."""
    secrets = site.secrets()
    names = [base.name for base in site.stack.databases()]
    for role in names:
        for database in {*names, "postgres"} - {role}:
            if database == "postgres":
                continue  # the empty maintenance database is open to every role
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                connect(role, database, secrets[f"{role}_db_password"])


def test_each_service_works_under_its_own_role(site: LabSite, superuser: psycopg.Connection) -> None:
    """K5, K7, K34: Synapse and the others are connected as themselves, and nobody but kmuctl as the superuser."""
    query = "SELECT DISTINCT usename, datname FROM pg_stat_activity WHERE backend_type = 'client backend'"

    def seen() -> set[tuple[str, str]]:
        site.get("cloud", "/status.php")
        site.get("auth", "/if/flow/default-authentication-flow/")
        return {(role, database) for role, database in superuser.execute(query).fetchall()}

    assert ("synapse", "synapse") in seen()
    assert {role for role, database in seen() if role != database} == set()


@pytest.mark.parametrize("name", ["authentik", "nextcloud", "synapse", "stalwart"])
def test_each_service_keeps_its_tables_there(site: LabSite, name: str) -> None:
    """K5: the database is not only made, it is used, and what is in it belongs to the role."""
    query = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    with connect(name, name, site.secrets()[f"{name}_db_password"]) as connection:
        assert eventually(lambda: connection.execute(query).fetchall(), what=f"tables of {name}") == [(name,)]


def test_the_cluster_is_reached_from_its_network_alone(site: LabSite) -> None:
    """K5, K32: no published port, and an internal network."""
    item = containers()["postgres"]
    assert not any(item["NetworkSettings"]["Ports"].values())
    assert list(item["NetworkSettings"]["Networks"]) == ["kmu_database"]


def test_passwords_cross_the_wire_as_scram(site: LabSite, superuser: psycopg.Connection) -> None:
    """K103: and lie in the catalogue as SCRAM verifiers."""
    rows = superuser.execute("SELECT rolname, left(rolpassword, 13) FROM pg_authid WHERE rolcanlogin").fetchall()
    assert {kind for _, kind in rows} == {"SCRAM-SHA-256"}
