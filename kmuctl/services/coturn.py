"""coturn: relays calls for people behind strict firewalls."""

from kmuctl.model.service import Container, Data, Network, Port, Record, Route, Service, secrets

SERVICE = Service(
    name="coturn",
    title="coturn",
    containers=(Container(name="coturn", image="coturn/coturn:4.17.0-r0", uid=65534, memory=96),),
    routes=(Route("turn", "", 0),),
    ports=(
        Port(3478, "tcp", "TURN"),
        Port(3478, "udp", "TURN"),
        Port(5349, "tcp", "TURN over TLS"),
        Port(49160, "udp", "TURN relay", last=49200),
    ),
    records=(
        Record("_turn._udp", "SRV", "0 0 3478 turn.{domain}."),
        Record("_turns._tcp", "SRV", "0 0 5349 turn.{domain}."),
    ),
    networks=(Network("turn", 6, internal=False),),
    secrets=secrets("turn_secret"),
    data=(Data("certs", uid=65534),),
)
