"""PostgreSQL: one cluster, a database and a role for each service that needs one.

Major 17: inside every product's range (upstream/*.md), and the version that the lab runs for real.
"""

from kmuctl.model.service import Container, Data, Network, Service, secrets

SERVICE = Service(
    name="postgres",
    title="PostgreSQL",
    essential=True,
    containers=(Container(name="postgres", image="postgres:17.11", uid=999, memory=896, deadline=120),),
    networks=(Network("database", 1),),
    secrets=secrets("postgres_password", sealed=True),
    data=(Data("data", uid=999),),
)
