"""Secrets that a service must be told, with the old value, before the new one counts.

All other secrets only have to change in the file: `up` brings a database role, a blueprint or a container after it. A
rotation that is cut off anywhere is finished by the next `up`, because the old value stays in the file until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kmuctl.model.errors import ConfigError
from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secret, assign, exchange
from kmuctl.model.service import Service
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, unseen
from kmuctl.operations.authentik.api import SERVER as AUTHENTIK_SERVER
from kmuctl.operations.authentik.api import WORKER, Api, not_serving
from kmuctl.operations.containers import serving
from kmuctl.operations.databases import SERVER, SUPERUSER_SECRET
from kmuctl.operations.plan import at_least_once
from kmuctl.operations.vault import Vault, renewal

TOKEN = "authentik_bootstrap_token"  # noqa: S105 (its name)
BOOTSTRAP = "authentik_bootstrap_password"
SIGNING_KEY, RETIRED_KEYS = "synapse_signing_key", "synapse_retired_keys"
AUTHENTIK = (f"container:{AUTHENTIK_SERVER}", f"container:{WORKER}")


def maker(stack: Stack, name: str) -> Callable[[], str]:
    """How a new value is made. Raises ConfigError for a secret that is none, or that somebody else owns."""
    specs = {spec.name: spec for spec in stack.secrets()}
    if name not in specs:
        known = ", ".join(sorted(spec.upper() for spec in specs))
        raise ConfigError(f"no secret `{name.upper()}` in this site", hint=f"one of: {known}")
    if name == RETIRED_KEYS:
        raise ConfigError(f"{name.upper()} only grows", hint=f"with `kmuctl secrets rotate {SIGNING_KEY}`")
    make = specs[name].make
    if make is None:
        raise ConfigError(
            f"{name.upper()} is not kmuctl's: only its provider can change it",
            hint="change it there, write the new value into the secrets file, and run `kmuctl up`",
        )
    return make


def exchanged(text: str, vault: Vault, name: str, new: Secret, moment: float) -> str:
    """The secrets file with a new value beside the old one; a signing key that retires is kept for its signatures."""
    text = exchange(text, name, new)
    if name != SIGNING_KEY:
        return text
    return assign(text, RETIRED_KEYS, retired(vault.values[name], vault.values[RETIRED_KEYS], moment))


def retired(key: Secret, others: Secret, moment: float) -> str:
    """`VERSION.PUBLIC.MILLISECONDS` of each former key of Synapse, joined by `-`; base64 has neither sign."""
    from base64 import b64decode, b64encode

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    _, version, seed = key.reveal().split()
    public = Ed25519PrivateKey.from_private_bytes(b64decode(seed + "=")).public_key().public_bytes_raw()
    entry = f"{version}.{b64encode(public).decode().rstrip('=')}.{moment * 1000:.0f}"
    return "-".join([*(old for old in others.reveal().split("-") if "." in old), entry])


def renewals(service: Service, vault: Vault) -> Iterator[Step]:
    """After the service's containers, before whatever asks it with these secrets."""
    known = {SUPERUSER_SECRET: superuser_step, TOKEN: token_step, BOOTSTRAP: akadmin_step}
    own = {spec.name for spec in service.secrets}
    yield from (step(vault) for name, step in known.items() if name in own and name in vault.previous)


def superuser_step(vault: Vault) -> Step:
    old, new = vault.previous[SUPERUSER_SECRET], vault.values[SUPERUSER_SECRET]

    def check(host: Reader) -> Drift | None:
        if not serving(host, SERVER):
            return unseen("PostgreSQL")
        return None if host.cluster.accepts("postgres", new.reveal()) else Drift("PostgreSQL has the old password")

    def apply(host: Host) -> None:
        host.cluster.set_role(old.reveal(), "postgres", new.reveal())

    return Step(name=renewal(SUPERUSER_SECRET), check=check, apply=apply, after=(f"container:{SERVER}",))


def token_step(vault: Vault) -> Step:
    """Authentik reads its bootstrap values once; afterwards its API is the way."""
    old, new = Api(vault.previous[TOKEN]), Api(vault.values[TOKEN])

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        return None if new.welcome(host) else Drift("Authentik has the old token")

    def apply(host: Host) -> None:
        old.send(host, "POST", "core/tokens/authentik-bootstrap-token/set_key/", {"key": new.token.reveal()})

    return Step(name=renewal(TOKEN), check=check, apply=apply, after=AUTHENTIK)


def akadmin_step(vault: Vault) -> Step:
    """Whether Authentik has been told the password of its own administrator cannot be seen, so it is told."""
    api, new = Api(vault.values[TOKEN]), vault.values[BOOTSTRAP]

    def check(host: Reader) -> Drift | None:
        return not_serving(host)

    def apply(host: Host) -> None:
        for account in api.rows(host, "core/users/?username=akadmin"):  # none, when somebody removed it
            api.send(host, "POST", f"core/users/{account['pk']}/set_password/", {"password": new.reveal()})

    first = (renewal(TOKEN),) if TOKEN in vault.previous else ()
    step = Step(name=renewal(BOOTSTRAP), check=check, apply=apply, after=(*AUTHENTIK, *first))
    return at_least_once(step, "Authentik may have the old password")
