"""Nextcloud at work, the local admin for emergencies, and trust in the stack's own certificate authority."""

from __future__ import annotations

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secret
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, wait_only
from kmuctl.operations.caddy import ca_certificate
from kmuctl.operations.nextcloud.occ import AS_ITS_USER, CONTAINER, OCC, ask, call, change, not_serving, occ, status

ADMIN = "kmu-break-glass"
AUTHORITY = "kmu-root.crt"
UNAUTHORIZED = 401
FROM_STDIN = "IFS= read -r OC_PASS && export OC_PASS && exec"


def ready_step(*, after: tuple[str, ...]) -> Step:
    """It serves. A maintenance mode is somebody's work: it is told, not ended."""

    def check(host: Reader) -> Drift | None:
        state = status(host)
        if isinstance(state, Drift):
            return state
        if state["needsDbUpgrade"]:
            raise StepFailed(
                "Nextcloud's database waits for an upgrade", hint="`kmuctl occ upgrade`, then `kmuctl up` again"
            )
        if state["maintenance"]:
            raise StepFailed(
                "Nextcloud is in maintenance mode: a backup, an upgrade or somebody is at work",
                hint="when that is over: `kmuctl occ maintenance:mode --off`, then `kmuctl up` again",
            )
        return None

    return Step(name="nextcloud:ready", check=check, apply=wait_only, after=after, deadline=60, logs=(CONTAINER,))


def break_glass_step(password: Secret, *, after: tuple[str, ...]) -> Step:
    """The local admin can sign in with the password of the secrets file: proven each time, not first in need."""

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        reply = host.http.ask(call("/ocs/v2.php/cloud/user?format=json", password, ADMIN))
        if reply.status == UNAUTHORIZED:
            return Drift(f"`{ADMIN}` cannot sign in with the password of the secrets file")
        if reply.status >= 400:
            raise StepFailed(
                f"Nextcloud answers {reply.status} to `{ADMIN}`",
                hint="429 means too many failed attempts; `kmuctl logs nextcloud` shows more",
            )
        return None if "admin" in reply.json("ocs")["ocs"]["data"]["groups"] else Drift(f"`{ADMIN}` is no admin")

    def apply(host: Host) -> None:
        known = ask(host, occ("user:info", ADMIN, "--output=json")).code == 0
        verb = ("user:resetpassword",) if known else ("user:add", "--group=admin")
        script = f"{FROM_STDIN} {' '.join(OCC)} {' '.join(verb)} --password-from-env {ADMIN} -n"
        change(host, ("sh", "-c", script), f"{password.reveal()}\n".encode())
        change(host, occ("user:enable", ADMIN))
        change(host, occ("group:adduser", "admin", ADMIN))

    return Step(
        name="nextcloud:break-glass", check=check, apply=apply, after=after, deadline=10, logs=(CONTAINER,),
        hint=f"`kmuctl occ user:info {ADMIN}` shows what Nextcloud knows of it",
    )  # fmt: skip


def trust_step(stack: Stack, *, after: tuple[str, ...]) -> Step:
    """Nextcloud believes the stack's own certificate authority: its requests have a bundle of their own.

    PHP's connections to the mail server follow the container's variables instead (compose/nextcloud.yml.j2).
    """
    own = ca_certificate(stack)
    theirs = f"{stack.data('nextcloud', 'html')}/data/files_external/uploads/{AUTHORITY}"

    def check(host: Reader) -> Drift | None:
        certificate = host.read(own)
        if certificate is None:
            return Drift("can be seen when Caddy has made its certificate authority", unknown=True)
        return None if host.read(theirs) == certificate else not_serving(host) or Drift("it is not trusted yet")

    def apply(host: Host) -> None:
        # Nextcloud keeps it under the name of the file, and cannot read it from standard input
        file = f'"$folder"/{AUTHORITY}'
        script = f"folder=$(mktemp -d) && cat >{file} && php {OCC[-1]} security:certificates:import {file} -n"
        script += '; code=$?; rm -r "$folder"; exit $code'
        change(host, (*AS_ITS_USER, "sh", "-c", script), host.read(own) or b"")

    return Step(name="nextcloud:trust", check=check, apply=apply, after=after, deadline=30, logs=(CONTAINER,))
