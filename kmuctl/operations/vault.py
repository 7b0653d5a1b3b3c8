"""The secrets of one site on its host: what the file holds, and what is missing and may be made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kmuctl.model.errors import ConfigError, Problems
from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import PREVIOUS, Secret, Secrets, append, parse, settled
from kmuctl.model.service import SecretSpec
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step

FILE = "secrets.env"
FIT = re.compile(r"[A-Za-z0-9_.+/=-]{8,}|ed25519 \w+ [A-Za-z0-9+/]{43}")
HEADER = "# Made by kmuctl, once. Losing these is losing the site: keep a copy off this machine.\n"


@dataclass(frozen=True)
class Vault:
    path: str
    text: str
    values: Secrets
    fresh: dict[str, Secret]
    """Made in this run, not yet in the file."""

    @property
    def previous(self) -> dict[str, Secret]:
        """Old values that a service may still hold, by the name of the secret."""
        return {name.removesuffix(PREVIOUS): old for name, old in self.values.items() if name.endswith(PREVIOUS)}


def renewal(name: str) -> str:
    """The name of the step that tells a service the new value of a secret."""
    return f"secret:{name}"


def open_vault(stack: Stack, host: Reader) -> Vault:
    """All values that the stack needs; nothing is written.

    Raises ConfigError when the file is broken, when a secret is missing that existing data depends on, or one
    that only the admin knows.
    """
    path = f"{stack.folder}/{FILE}"
    text = read_text(host, path)
    known = parse(text, host.read, path=path)
    lacking = [spec for spec in stack.secrets() if spec.name not in known]
    _refuse_sealed(stack, lacking, host, path)
    _refuse_unknown(lacking, path)
    _refuse_unfit(stack, known, path)
    fresh = {spec.name: Secret(spec.make()) for spec in lacking if spec.make}
    return Vault(path, text or HEADER, Secrets({**known, **fresh}), fresh)


def read_text(host: Reader, path: str) -> str:
    """The secrets file as it is, "" when there is none."""
    try:
        return (host.read(path) or b"").decode()
    except UnicodeDecodeError:
        raise ConfigError(f"`{path}` is not UTF-8 text", hint="put back the copy from your backup") from None


def _refuse_sealed(stack: Stack, lacking: list[SecretSpec], host: Reader, path: str) -> None:
    owners = {spec.name: service for service in stack.services for spec in service.secrets}
    for spec in lacking:
        if not spec.sealed:
            continue
        folders = [stack.data(owners[spec.name].name, data.name) for data in owners[spec.name].data]
        if found := host.facts(folders):
            raise ConfigError(
                f"`{path}` has no {spec.name.upper()}, but its data exists: `{next(iter(found))}`",
                hint="that data was made with the old value: put the old secrets file back from your backup",
            )


def _refuse_unknown(lacking: list[SecretSpec], path: str) -> None:
    if unknown := [spec.name.upper() for spec in lacking if spec.make is None]:
        found = [f"{name}: is missing, and only you know it" for name in unknown]
        hint = f"add a line like `{unknown[0]}='...'`, or `{unknown[0]}_FILE=/path`"
        raise Problems(f"`{path}` is not complete", found, hint=hint)


def _refuse_unfit(stack: Stack, known: Secrets, path: str) -> None:
    """Values that we could have made stand unquoted in files of many formats; only the admin's own are free."""
    made = [spec.name for spec in stack.secrets() if spec.make is not None and spec.name in known]
    if unfit := [name.upper() for name in made if not FIT.fullmatch(known[name].reveal())]:
        found = [f"{name}: has characters other than letters, digits and `_.+/=-`, or fewer than 8" for name in unfit]
        raise Problems(f"`{path}` is not a valid secrets file", found, hint="choose another value for them")


def secrets_step(vault: Vault) -> Step:
    """The file holds every secret, for root's eyes only."""

    def check(host: Reader) -> Drift | None:
        fact = host.facts([vault.path]).get(vault.path)
        if fact is None:
            return Drift(f"{len(vault.fresh)} secrets to make")
        if missing := parse_missing(vault, host):
            return Drift(f"new: {', '.join(missing)}")
        if (fact.mode, fact.uid) != (0o600, 0):
            return Drift(f"belongs to user {fact.uid} with mode {fact.mode:o}, not to root alone")
        return None

    def apply(host: Host) -> None:
        text = append(vault.text, {name: vault.fresh[name] for name in parse_missing(vault, host)})
        host.write(vault.path, text.encode(), mode=0o600, uid=0)

    return Step(name="secrets", check=check, apply=apply)


def parse_missing(vault: Vault, host: Reader) -> list[str]:
    """Names made in this run that the file on the host does not have yet."""
    known = parse(read_text(host, vault.path), host.read, path=vault.path)
    return [name for name in vault.fresh if name not in known]


def settled_step(vault: Vault, *, after: tuple[str, ...]) -> Step:
    """Once everything else holds, nobody needs an old value any more."""
    names = ", ".join(name.upper() for name in vault.previous)

    def check(host: Reader) -> Drift | None:
        text = read_text(host, vault.path)
        return Drift(f"both sides know the new value of {names}") if settled(text) != text else None

    def apply(host: Host) -> None:
        host.write(vault.path, settled(read_text(host, vault.path)).encode(), mode=0o600, uid=0)

    return Step(name="secrets:settled", check=check, apply=apply, after=after)
