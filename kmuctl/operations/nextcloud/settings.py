"""Nextcloud's settings: its configuration in effect, its app values, the sign-on. One look, one list of differences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secret
from kmuctl.model.service import Oidc
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.nextcloud.apps import SIGN_ON
from kmuctl.operations.nextcloud.occ import AS_ITS_USER, CONTAINER, OCC, ask, change, not_serving, occ, refusal

INSTALL = (*AS_ITS_USER, "/docker-entrypoint-hooks.d/before-starting/10-install-config.sh")
"""The image runs it before each start."""
PRINT_OURS = """php -r '$CONFIG = []; require "/kmu/zz-kmu.config.php"; echo json_encode($CONFIG), "\\n";'"""
LOOK = (
    *AS_ITS_USER, "sh", "-c",
    f"{PRINT_OURS} && php {OCC[-1]} config:list --private --output=json -n && echo && "
    f"php {OCC[-1]} user_oidc:providers --output=json -n",
)  # fmt: skip
"""In one go: what our file says, what is in effect with all app values, the sign-on's providers."""
CACHES = {
    "memcache.local": r"\OC\Memcache\APCu",
    "memcache.distributed": r"\OC\Memcache\Redis",
    "memcache.locking": r"\OC\Memcache\Redis",
}
"""Set by the image's own files."""
PROVIDER = "authentik"
CLAIMS = {
    "unique-uid": ("uniqueUid", False), "mapping-uid": ("mappingUid", "user_id"),
    "mapping-display-name": ("mappingDisplayName", "name"), "mapping-email": ("mappingEmail", "email"),
    "mapping-quota": ("mappingQuota", "quota"), "mapping-groups": ("mappingGroups", "groups"),
    "group-provisioning": ("groupProvisioning", True),
    "group-whitelist-regex": ("groupWhitelistRegex", "/^(admin|kmu-.*)$/"),
    "check-bearer": ("checkBearer", False), "bearer-provisioning": ("bearerProvisioning", False),
}  # fmt: skip
"""By option: how user_oidc calls it when read, and our value. Groups that do not match are Nextcloud's own affair."""
MARKS = "kmuctl"
"""An app id of our own for what Nextcloud cannot tell."""
ROUNDS = 2
"""A provider has its number only when it was made."""
MISSING = ("db:add-missing-indices", "db:add-missing-columns", "db:add-missing-primary-keys")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference and the command that ends it; several may share a cause."""

    cause: str
    command: tuple[str, ...]
    stdin: bytes = b""


@dataclass(frozen=True, slots=True)
class Snapshot:
    ours: dict[str, Any]
    system: dict[str, Any]
    apps: dict[str, dict[str, Any]]
    providers: list[dict[str, Any]]


def settings_step(stack: Stack, client_secret: Secret, *, after: tuple[str, ...]) -> Step:
    """All settings that are ours are as they should be; what else an admin chose in Nextcloud stays."""

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        seen = _snapshot(host)
        if seen is None:
            return Drift(f"can be seen when Nextcloud has its app `{SIGN_ON}`", unknown=True)
        causes = list(dict.fromkeys(change.cause for change in _changes(stack, client_secret, seen)))
        more = f" and {len(causes) - 3} more" if len(causes) > 3 else ""
        return Drift("; ".join(causes[:3]) + more) if causes else None

    def apply(host: Host) -> None:
        for _ in range(ROUNDS):
            if seen := _snapshot(host):
                for wanted in _changes(stack, client_secret, seen):
                    change(host, wanted.command, wanted.stdin)

    return Step(
        name="nextcloud:settings", check=check, apply=apply, after=after, deadline=10, logs=(CONTAINER,),
        hint="a variable NC_* of the container or a file in Nextcloud's config folder may say otherwise: "
        "`kmuctl occ config:list system` shows what is in effect",
    )  # fmt: skip


def _snapshot(host: Reader) -> Snapshot | None:
    """None when the sign-on's app is not there."""
    answer = ask(host, LOOK)
    lines = [line for line in answer.stdout.splitlines() if line.startswith("{")]
    if len(lines) < 2:
        raise refusal("occ config:list", answer)
    ours, in_effect, *providers = (json.loads(line) for line in lines)
    if in_effect["apps"].get(SIGN_ON, {}).get("enabled") != "yes":
        return None
    if answer.code:
        raise refusal("occ user_oidc:providers", answer)
    return Snapshot(ours, in_effect["system"], in_effect["apps"], providers)


def _changes(stack: Stack, client_secret: Secret, seen: Snapshot) -> Iterator[Change]:
    yield from _configuration(stack, seen)
    yield from _sign_on(stack, client_secret, seen)
    yield from _app_values(stack, seen)
    yield from _database(seen)


def _configuration(stack: Stack, seen: Snapshot) -> Iterator[Change]:
    """What our file and the image's say is in effect; what only an earlier file of ours said is gone."""
    wanted = {**CACHES, **seen.ours}
    if wrong := [key for key in wanted if seen.system.get(key) != wanted[key]]:
        yield Change(f"not in effect: {', '.join(wrong)}", INSTALL)
    yield from _former_mail(stack, seen)


def _former_mail(stack: Stack, seen: Snapshot) -> Iterator[Change]:
    """Every write of Nextcloud copies all values, from wherever they come, into config.php.

    The own server is known by its name; a relay that is in use is noted, for the day on which it is none any more.
    """
    noted, host = seen.apps.get(MARKS, {}).get("relay"), seen.system.get("mail_smtphost")
    if stack.outgoing:
        if "stalwart" not in stack and noted != stack.outgoing.host:
            command = occ("config:app:set", MARKS, "relay", f"--value={stack.outgoing.host}")
            yield Change("its mail goes through the relay", command)
    elif host and host in (stack.site.fqdn("mail"), noted):
        for key in sorted(key for key in seen.system if key.startswith("mail_")):
            yield Change("left over from a mail server of ours", occ("config:system:delete", key))


def _sign_on(stack: Stack, client_secret: Secret, seen: Snapshot) -> Iterator[Change]:
    found = next((one for one in seen.providers if one["identifier"] == PROVIDER), None)
    wanted = _provider(stack)
    wrong = wanted if found is None else {name: value for name, value in wanted.items() if _read(found, name) != value}
    if found is None:
        yield Change("no sign-on yet", _upsert(wanted), client_secret.reveal().encode())
        return  # its number, which the mark needs, is known by the next look
    digest = f"{found['id']} {sha256(client_secret.reveal().encode()).hexdigest()}"
    known = seen.apps.get(MARKS, {}).get("client_secret") == digest
    if wrong:
        yield Change(f"sign-on: {', '.join(wrong)} changed", _upsert(wrong, secret=False))
    if not known:
        cause = "sign-on: its secret changed"
        yield Change(cause, _upsert({"clientid": wanted["clientid"]}), client_secret.reveal().encode())
        yield Change(cause, occ("config:app:set", MARKS, "client_secret", f"--value={digest}"))


def _provider(stack: Stack) -> dict[str, Any]:
    """Our values by option."""
    login = cast("Oidc", stack["nextcloud"].login)
    return {
        "clientid": "nextcloud",
        "discoveryuri": f"{stack.site.url('auth')}/application/o/nextcloud/.well-known/openid-configuration",
        "scope": " ".join(login.scopes),
        **{option: value for option, (_, value) in CLAIMS.items()},
    }


def _read(found: dict[str, Any], option: str) -> Any:
    columns = {"clientid": "clientId", "discoveryuri": "discoveryEndpoint", "scope": "scope"}
    return found[columns[option]] if option in columns else found["settings"].get(CLAIMS[option][0])


def _upsert(options: dict[str, Any], *, secret: bool = True) -> tuple[str, ...]:
    """The secret comes by standard input, which PHP opens by this name without asking for rights."""
    words = [f"--{name}={int(value) if isinstance(value, bool) else value}" for name, value in options.items()]
    return occ("user_oidc:provider", PROVIDER, *words, *(["--clientsecret-file=php://stdin"] if secret else []))


def _app_values(stack: Stack, seen: Snapshot) -> Iterator[Change]:
    if seen.apps["core"].get("backgroundjobs_mode") != "cron":
        yield Change("its jobs do not run by cron", occ("background:cron"))
    # with exactly one provider and this, /login leads straight to it; /login?direct=1 stays
    wanted = {(SIGN_ON, "allow_multiple_user_backends"): "0"}
    if "jitsi" in stack and seen.apps.get("jitsi", {}).get("enabled") == "yes":
        wanted["jitsi", "jitsi_server_url"] = stack.site.url("meet") + "/"
    for (app, key), value in wanted.items():
        if str(seen.apps.get(app, {}).get(key)) != value:
            command = occ("config:app:set", app, key, f"--value={value}", "--type=string")
            yield Change(f"{app}: {key} is not {value}", command)


def _database(seen: Snapshot) -> Iterator[Change]:
    """Nextcloud leaves new indices of an update to its admin; only a new version of something brings any."""
    versions = [seen.system.get("version")]
    versions += sorted(f"{app} {values['installed_version']}" for app, values in seen.apps.items() if _is_on(values))
    mark = sha256(json.dumps(versions).encode()).hexdigest()[:16]
    if seen.apps.get(MARKS, {}).get("database") != mark:
        cause = "versions changed: the database may lack indices"
        for command in MISSING:
            yield Change(cause, occ(command))
        yield Change(cause, occ("config:app:set", MARKS, "database", f"--value={mark}"))


def _is_on(values: dict[str, Any]) -> bool:
    return "installed_version" in values and values.get("enabled", "no") != "no"
