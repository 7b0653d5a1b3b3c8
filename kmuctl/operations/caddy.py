"""Caddy alone takes a new configuration without being recreated: visitors notice nothing."""

from __future__ import annotations

import json

from kmuctl.model.errors import ConfigError, StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step
from kmuctl.operations.compose import Definition
from kmuctl.operations.containers import outdated

CADDY = "caddy"
ADAPT = ("caddy", "adapt", "--adapter", "caddyfile", "--config", "-")
RUNNING = ("curl", "-fsS", "--max-time", "5", "--unix-socket", "/run/caddy-admin.sock", "http://localhost/config/")
RELOAD = ("timeout", "60", "caddy", "reload", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile", "--force")


def config_step(caddyfile: bytes, definition: Definition, *, after: tuple[str, ...]) -> Step:
    """The running Caddy serves the rendered Caddyfile."""

    def check(host: Reader) -> Drift | None:
        fact = host.engine.containers(PROJECT, [CADDY]).get(CADDY)
        if fact is None or fact.state != "running" or outdated(fact, definition, host.engine):
            return None  # it reads the file when it starts
        wanted = host.engine.ask(PROJECT, CADDY, ADAPT, caddyfile)
        if wanted.code:
            raise StepFailed(f"Caddy refuses its configuration: {wanted.reason}")
        running = host.engine.ask(PROJECT, CADDY, RUNNING)
        same = running.code == 0 and json.loads(running.stdout) == json.loads(wanted.stdout)
        return None if same else Drift("the running configuration differs")

    return Step(name="caddy:config", check=check, apply=reload, after=after, logs=(CADDY,))


def authority_step(stack: Stack, *, after: tuple[str, ...]) -> Step:
    """Mode "internal": a copy of Caddy's own authority that other containers may read, so that they trust its names."""
    source, folder = ca_certificate(stack), stack.data(CADDY, "authority")
    copy = f"{folder}/root.crt"

    def check(host: Reader) -> Drift | None:
        facts = host.facts([source, copy])
        if source not in facts:
            return Drift("Caddy makes it when it starts first", unknown=True)
        same = copy in facts and (facts[copy].digest, facts[copy].mode) == (facts[source].digest, 0o644)
        return None if same else Drift("to copy")

    def apply(host: Host) -> None:
        if (certificate := host.read(source)) is None:
            raise StepFailed("Caddy has made no authority of its own", hint="`kmuctl logs caddy` shows why")
        host.make_folder(folder, mode=0o755, uid=0)
        host.write(copy, certificate, mode=0o644)

    return Step(name="caddy:authority", check=check, apply=apply, after=after, logs=(CADDY,))


def ca_certificate(stack: Stack) -> str:
    """Where Caddy keeps the root certificate of its own CA."""
    return f"{stack.data(CADDY, 'data')}/caddy/pki/authorities/local/root.crt"


def trusts_authority(definition: Definition) -> bool:
    """Whether a container mounts the copy."""
    return any(str(volume).startswith(f"../data/{CADDY}/authority:") for volume in definition.get("volumes", ()))


def reload(host: Host) -> None:
    """Read the Caddyfile and the certificate files again, even when the former did not change."""
    answer = host.engine.execute(PROJECT, CADDY, RELOAD)
    if answer.code:
        raise StepFailed(f"Caddy refuses its configuration: {answer.reason}")


def certificate_step(stack: Stack) -> Step:
    """Mode "files": Caddy gets its own copy of the company's certificate and key, and serves the renewed ones."""
    tls, folder = stack.site.tls, stack.data(CADDY, "certs")
    copies = ((str(tls.certificate), f"{folder}/site.crt", 0o644), (str(tls.key), f"{folder}/site.key", 0o600))

    def check(host: Reader) -> Drift | None:
        facts = host.facts([path for source, target, _ in copies for path in (source, target)])
        for source, target, mode in copies:
            if source not in facts:
                raise ConfigError(f"tls: `{source}` does not exist on this machine", hint="put the file there first")
            present = facts.get(target)
            if present is None or (present.digest, present.mode) != (facts[source].digest, mode):
                return Drift(f"to copy: {source}")
        return None

    def apply(host: Host) -> None:
        for source, target, mode in reversed(copies):
            host.write(target, host.read(source) or b"", mode=mode)
        fact = host.engine.containers(PROJECT, [CADDY]).get(CADDY)
        if fact is not None and fact.state == "running":
            reload(host)

    return Step(name="certificate", check=check, apply=apply, after=("data:caddy",))
