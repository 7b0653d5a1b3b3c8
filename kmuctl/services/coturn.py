"""coturn: relays calls for people behind strict firewalls."""

from kmuctl.model.service import Container, Data, Network, Port, Record, Route, Service, secrets
from kmuctl.model.site import Site

PLAIN, TLS = 3478, 5349


def records(site: Site) -> tuple[Record, ...]:
    """For programs that look for a relay by themselves; ours are told where it is."""
    doors = {"_turn._udp": PLAIN, "_turn._tcp": PLAIN, "_turns._tcp": TLS, "_stun._udp": PLAIN, "_stun._tcp": PLAIN}
    return tuple(Record(name, "SRV", f"0 0 {port} {site.fqdn('turn')}.") for name, port in doors.items())


SERVICE = Service(
    name="coturn",
    title="coturn",
    containers=(Container(name="coturn", image="coturn/coturn:4.17.0-r0", uid=65534, memory=96),),
    routes=(Route("turn", "", 0),),
    ports=(
        Port(PLAIN, "tcp", "TURN"),
        Port(PLAIN, "udp", "TURN"),
        Port(TLS, "tcp", "TURN over TLS"),
        Port(49160, "udp", "TURN relay", last=49200),
    ),
    records=records,
    networks=(Network("turn", 6, internal=False),),
    secrets=secrets("turn_secret"),
    data=(Data("certs", uid=65534),),
)
