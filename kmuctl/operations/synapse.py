"""Synapse: the account through which kmuctl administers it. Its token is a secret of ours, so none can get lost."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from urllib.parse import quote

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Call, Host, Reader, Reply
from kmuctl.model.secrets import Secret, Secrets, password
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, unseen
from kmuctl.operations.containers import serving
from kmuctl.operations.render import Rendered

CONTAINER, PORT = "synapse", 8008
ADMIN = "kmuctl-admin"
"""No person may have this name (`RESERVED_USERS`)."""
REGISTER = "/_synapse/admin/v1/register"


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    """kmuctl's own administrator."""
    if CONTAINER in stack:
        token, registration = secrets["synapse_admin_token"], secrets["synapse_registration_secret"]
        yield admin_step(stack.site.domain, token, registration, after=(f"container:{CONTAINER}",))


def admin_step(domain: str, token: Secret, registration: Secret, *, after: tuple[str, ...]) -> Step:
    """The account exists, is a server administrator, and obeys our token."""

    def check(host: Reader) -> Drift | None:
        if not serving(host, CONTAINER):
            return unseen("Synapse")
        reply = host.http.ask(as_admin(domain, token, f"/_synapse/admin/v1/users/{_user(domain)}/admin"))
        if reply.status == 403:
            return Drift("it has no administrator for kmuctl")
        _good(reply, "admin")
        return None

    def apply(host: Host) -> None:
        nonce = _good(host.http.ask(Call(container=CONTAINER, port=PORT, path=REGISTER)), "nonce")["nonce"]
        body = _registration(str(nonce), registration)
        reply = host.http.send(Call(container=CONTAINER, port=PORT, path=REGISTER, method="POST", body=body))
        if reply.status == 400 and "M_USER_IN_USE" in reply.text:
            raise StepFailed(
                f"`@{ADMIN}:{domain}` is in Synapse already, but is no administrator",
                hint="somebody took its rights away: give them back in Synapse's table `users`",
            )
        _good(reply)

    return Step(name="synapse:admin", check=check, apply=apply, after=after, deadline=30, logs=(CONTAINER,))


def as_admin(domain: str, token: Secret, path: str, *, method: str = "GET", body: object = None) -> Call:
    """A request of kmuctl's administrator to Synapse's administration interface."""
    path += f"{'&' if '?' in path else '?'}user_id={_user(domain)}"
    return Call(container=CONTAINER, port=PORT, path=path, method=method, token=token, body=body)


def _user(domain: str) -> str:
    return quote(f"@{ADMIN}:{domain}", safe="")


def _registration(nonce: str, key: Secret) -> dict[str, object]:
    """Signed with the shared secret (upstream/matrix-coturn-caddy.md 2). Nobody signs in with the password."""
    forgotten = password()
    signed = "\0".join((nonce, ADMIN, forgotten, "admin"))
    mac = hmac.digest(key.reveal().encode(), signed.encode(), "sha1").hex()
    return {
        "nonce": nonce, "username": ADMIN, "displayname": "kmuctl", "password": forgotten, "admin": True, "mac": mac,
        "inhibit_login": True,
    }  # fmt: skip


def _good(reply: Reply, *keys: str) -> dict[str, object]:
    if reply.status == 401:
        raise StepFailed("Synapse refuses `SYNAPSE_ADMIN_TOKEN`", hint=f"`kmuctl logs {CONTAINER}` shows more")
    if reply.status >= 400:
        raise StepFailed(f"Synapse answers {reply.status}: {reply.said}")
    answer: dict[str, object] = reply.json(*keys)
    return answer
