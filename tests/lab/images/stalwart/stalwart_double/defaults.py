"""What the first normal start inserts for every object type that has no row yet."""

from secrets import token_urlsafe
from typing import Any

from .registry import Registry

LISTENERS = {
    "smtp": ("smtp", 25, True, False),
    "submissions": ("smtp", 465, True, True),
    "imaps": ("imap", 993, True, True),
    "pop3s": ("pop3", 995, True, True),
    "sieve": ("manageSieve", 4190, True, False),
    "https": ("http", 443, True, True),
    "http": ("http", 8080, False, False),
}
ROLES = {"User": "defaultUserRoleIds", "Group": "defaultGroupRoleIds", "System Administrator": "defaultAdminRoleIds"}
THROTTLES = {
    "Sender IP throttle": {"key": {"remoteIp": True}, "rate": {"count": 5, "period": 1000}},
    "Sender address to recipient throttle": {
        "key": {"senderDomain": True, "rcpt": True},
        "rate": {"count": 25, "period": 3_600_000},
    },
}


def rows() -> dict[str, list[dict[str, Any]]]:
    return {
        "x:NetworkListener": [
            {"name": name, "protocol": protocol, "bind": {f"[::]:{port}": True}, "useTls": tls, "tlsImplicit": implicit}
            for name, (protocol, port, tls, implicit) in LISTENERS.items()
        ],
        "x:MtaRoute": [{"@type": "Mx", "name": "mx"}, {"@type": "Local", "name": "local"}],
        "x:MtaTlsStrategy": [{"name": "default"}, {"name": "invalid-tls", "allowInvalidCerts": True}],
        "x:MtaConnectionStrategy": [{"name": "default"}],
        "x:MtaInboundThrottle": [{"description": name, "enable": True, **body} for name, body in THROTTLES.items()],
        "x:Tracer": [{"@type": "Log", "path": "/var/log/stalwart", "enable": True}],
    }


def insert(registry: Registry) -> None:
    for name, bodies in rows().items():
        if not registry.tables.get(name):
            for body in bodies:
                registry.create(name, body, None)
    if not registry.tables.get("x:OidcProvider"):
        keys = {
            "encryptionKey": {"@type": "Value", "secret": token_urlsafe()},
            "signatureKey": {"@type": "Text", "secret": token_urlsafe()},
        }
        registry.update("x:OidcProvider", "singleton", {**keys, "signatureAlgorithm": "es256"})
    if not registry.tables.get("x:Role"):
        made = {name: registry.create("x:Role", {"description": name}, None)["id"] for name in ROLES}
        registry.create("x:Role", {"description": "Tenant Administrator"}, None)
        # Only together with the roles: a plan that touched Authentication before keeps its empty role ids.
        if not registry.tables.get("x:Authentication"):
            registry.update("x:Authentication", "singleton", {ROLES[name]: {key: True} for name, key in made.items()})
