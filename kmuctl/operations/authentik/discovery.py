"""Applications that sign people in themselves find Authentik at its public name, from where they ask: inside."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kmuctl.model.host import Reader
from kmuctl.model.service import Oidc, Service
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step, unseen, wait_only
from kmuctl.operations.authentik.api import not_serving
from kmuctl.operations.caddy import CADDY
from kmuctl.operations.containers import serving

FETCH = ("curl", "-sS", "--max-time", "10")
"""With the container's own certificate authorities: it reads SSL_CERT_FILE as the products do."""
TLS_FAILED, UNTRUSTED = 35, 60
NO_CERTIFICATE_YET = "there may be no certificate for it yet"
DEADLINE = 60


def discovery_steps(stack: Stack, *, after: tuple[str, ...]) -> Iterator[Step]:
    for service in stack.services:
        if isinstance(service.login, Oidc):
            yield discovery_step(stack, service, after=(*after, f"container:{service.name}", "caddy:config"))


def discovery_step(stack: Stack, service: Service, *, after: tuple[str, ...]) -> Step:
    """The application reads who signs its people in, and that is the one it is told to trust (K115).

    Where certificates are Let's Encrypt's they may take days, and with a proxy in front they are not ours: a warning.
    """
    issuer = f"{stack.site.url('auth')}/application/o/{service.name}/"
    ours = stack.site.tls.mode == "internal"

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        for name in (CADDY, service.name):
            if not serving(host, name):
                return unseen(stack[name].title)
        wrong = _wrong(host, service.name, issuer)
        return Drift(f"nobody can sign in to {service.title}: {wrong}", tolerable=not ours) if wrong else None

    return Step(
        name=f"sign-on:{service.name}", check=check, apply=wait_only, after=after, deadline=DEADLINE,
        hint=f"`kmuctl exec {service.name} -- curl -sS {issuer}.well-known/openid-configuration` shows it again",
        logs=(CADDY,),
    )  # fmt: skip


def _wrong(host: Reader, container: str, issuer: str) -> str:
    """What keeps the application from the sign-on; "" for nothing."""
    address = f"{issuer}.well-known/openid-configuration"
    answer = host.engine.ask(PROJECT, container, (*FETCH, address))
    if answer.code:
        why = f" ({NO_CERTIFICATE_YET})" if answer.code in (TLS_FAILED, UNTRUSTED) else ""
        return f"{address} cannot be opened from inside: {answer.reason}{why}"
    try:
        said = json.loads(answer.stdout)["issuer"]
    except (ValueError, LookupError, TypeError):
        return f"{address} says {answer.stdout.strip()[:100] or 'nothing'}"
    return "" if said == issuer else f"{address} names {said} as who signs in, instead of {issuer}"
