"""Caddy alone takes a new configuration without being recreated: visitors notice nothing."""

from __future__ import annotations

import json

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import PROJECT
from kmuctl.model.step import Drift, Step
from kmuctl.operations.compose import Definition
from kmuctl.operations.containers import outdated

CADDY = "caddy"
ADAPT = ("caddy", "adapt", "--adapter", "caddyfile", "--config", "-")
RUNNING = ("curl", "-fsS", "--unix-socket", "/run/caddy-admin.sock", "http://localhost/config/")
RELOAD = ("caddy", "reload", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile", "--force")


def config_step(caddyfile: bytes, definition: Definition, *, after: tuple[str, ...]) -> Step:
    """The running Caddy serves the rendered Caddyfile."""

    def check(host: Reader) -> Drift | None:
        fact = host.engine.containers(PROJECT, [CADDY]).get(CADDY)
        if fact is None or fact.state != "running" or outdated(fact, definition, host.engine):
            return None  # it reads the file when it starts
        wanted = host.engine.ask(PROJECT, CADDY, ADAPT, caddyfile)
        if wanted.code:
            raise StepFailed(f"Caddy refuses its configuration: {wanted.stderr.strip().splitlines()[-1]}")
        running = host.engine.ask(PROJECT, CADDY, RUNNING)
        same = running.code == 0 and json.loads(running.stdout) == json.loads(wanted.stdout)
        return None if same else Drift("the running configuration differs")

    def apply(host: Host) -> None:
        answer = host.engine.execute(PROJECT, CADDY, RELOAD)
        if answer.code:
            raise StepFailed(f"Caddy refuses its configuration: {answer.stderr.strip().splitlines()[-1]}")

    return Step(name="caddy:config", check=check, apply=apply, after=after, logs=(CADDY,))
