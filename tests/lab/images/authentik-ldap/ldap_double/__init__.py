"""A strict test double of Authentik's LDAP outpost."""

VERSION = "2026.8.5"
BANNER = "DOUBLE of the Authentik 2026.8.5 LDAP outpost, not the real program"
