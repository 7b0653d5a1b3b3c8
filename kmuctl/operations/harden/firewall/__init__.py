"""The firewall: the site's ports and SSH are open, nothing else, published by a container or not."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.model.step import Step
from kmuctl.operations.harden.apt import packages_step
from kmuctl.operations.harden.firewall.containers import containers_step
from kmuctl.operations.harden.firewall.steps import ufw_step


def firewall(stack: Stack, machine: Machine) -> Iterator[Step]:
    yield packages_step("firewall:packages", ("ufw", "iptables", "iproute2"))
    yield ufw_step(stack, after=("firewall:packages",))
    yield containers_step(stack, after=("firewall:packages",))
