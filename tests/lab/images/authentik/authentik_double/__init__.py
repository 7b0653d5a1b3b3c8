"""A strict test double of Authentik 2026.8: server and worker."""

VERSION = "2026.8.5"
BANNER = "DOUBLE of Authentik 2026.8.5 (server, worker), not the real program"


class UnknownToDouble(Exception):
    """The real program may know this; the double does not and says so instead of guessing."""
