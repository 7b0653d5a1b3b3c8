"""Is this machine fit for the stack? Asked before anything is changed; all problems at once."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from kmuctl import SITE_FILE
from kmuctl.model.errors import HostError, Problems
from kmuctl.model.host import Reader
from kmuctl.model.stack import Stack
from kmuctl.operations.files import DOMAIN_FILE
from kmuctl.operations.together import together

MIN_ENGINE, MIN_COMPOSE = (20, 10), (2, 20)
FIRST_DISK, LATER_DISK = 10 * 1024, 1024
"""MiB that the engine's disk needs while no image is there; any disk needs at any time."""
Problem: TypeAlias = tuple[str, str]
"""What stands in the way, and what to do about it."""
WIDE = 8
"""Routes shorter than this lead to the internet or into a full-tunnel VPN; our own are more specific and win."""
INSTALL = "install it as Docker's own guide says: https://docs.docker.com/engine/install/"


def preflight(stack: Stack, host: Reader) -> list[str]:
    """Warnings. Raises HostError with everything that stands in the way."""
    together([partial(_require_root, host), partial(_require_docker, host)])
    refusals = (refuse_other_site, _refuse_other_domain, _require_certificate)
    together([partial(refuse, stack, host) for refuse in refusals])
    looks = (_taken_ports, _colliding_subnets, _too_little)
    problems = together([partial(_listed, look, stack, host) for look in looks])
    if found := [problem for some in problems for problem in some]:
        text = "\n".join(["this machine is not ready:", *(f"  {line}" for line, _ in found)])
        raise HostError(text, hint="; ".join(dict.fromkeys(hint for _, hint in found)))
    return [*_tight_memory(stack, host)]


def _listed(look: Callable[[Stack, Reader], Iterator[Problem]], stack: Stack, host: Reader) -> list[Problem]:
    return [*look(stack, host)]


def _require_root(host: Reader) -> None:
    if host.query(("id", "-u")).stdout.strip() != "0":
        raise HostError(
            "kmuctl needs root here: it gives state folders to the containers' users",
            hint="run it with sudo; in the group docker, `kmuctl status`, `logs` and `exec` work without",
        )


def _require_docker(host: Reader) -> None:
    client, compose = together(
        [partial(host.query, ("docker", *words)) for words in (("--version",), ("compose", "version", "--short"))]
    )
    if client.code == 127:
        raise HostError("Docker is not installed", hint="`kmuctl harden` installs it")
    engine = host.engine.version()
    if version(engine) < MIN_ENGINE:
        raise HostError(f"Docker Engine {engine} is too old: at least 20.10 is needed", hint=INSTALL)
    if compose.code:
        raise HostError("Docker has no Compose plugin (v2)", hint="`kmuctl harden` installs it; by hand: " + INSTALL)
    if version(compose.stdout) < MIN_COMPOSE:
        raise HostError(f"Docker Compose {compose.stdout.strip()} is too old: at least 2.20 is needed", hint=INSTALL)


def refuse_other_site(stack: Stack, host: Reader) -> None:
    """The project name is the same for every site: two of them would take each other's containers for their own."""
    wanted = stack.rendered
    for fact in host.engine.containers(stack.project).values():
        folder = fact.labels.get("com.docker.compose.project.working_dir", wanted)
        if folder != wanted:
            theirs = folder.removesuffix("rendered") + SITE_FILE
            raise HostError(
                f"another site runs on this machine, from `{folder}`",
                hint=f"one site a machine; stop the other with `kmuctl --site {theirs} down`",
            )


def _refuse_other_domain(stack: Stack, host: Reader) -> None:
    """Mail, chat and sign-on are bound to the domain that they were set up with."""
    folder, wanted = stack.folder, stack.site.domain
    present = (host.read(f"{folder}/{DOMAIN_FILE}") or b"").decode(errors="replace").strip()
    if present not in ("", wanted):
        raise HostError(
            f"`{folder}` holds the data of {present}, not of {wanted}",
            hint="set the domain back, or another `folder` under [host]: data cannot move to another domain",
        )


def _require_certificate(stack: Stack, host: Reader) -> None:
    given = dict(zip(("tls.certificate", "tls.key"), stack.site.tls.given or (), strict=False))
    present = host.facts(given.values())
    if missing := [
        f"{key}: `{path}` does not exist on this machine" for key, path in given.items() if path not in present
    ]:
        raise Problems(
            "the certificate is not there", missing, hint="put the files there, or mend the paths in kmu.toml"
        )


def version(text: str) -> tuple[int, ...]:
    numbers = re.search(r"(\d+)\.(\d+)", text)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0,)


def _taken_ports(stack: Stack, host: Reader) -> Iterator[Problem]:
    own = host.engine.ports(stack.project)
    listeners = _listeners(host)
    for port in stack.ports():
        for number in port.numbers():
            program = listeners.get((number, port.protocol))
            if program and (number, port.protocol) not in own:
                yield (
                    f"port {number}/{port.protocol} ({port.purpose}) is taken by {program}",
                    "stop what holds the port: `ss -lntup` shows it",
                )


def _listeners(host: Reader) -> dict[tuple[int, str], str]:
    """Programs by port, on any address: one on loopback alone is in the way as well.

    `ss` prints protocol, state, two queues, local address, peer, processes.
    """
    found: dict[tuple[int, str], str] = {}
    answer = host.query(("ss", "-H", "-l", "-n", "-t", "-u", "-p"))
    if answer.code:
        raise HostError("cannot see which ports are taken: `ss` fails", hint="`apt install iproute2`")
    for line in answer.stdout.splitlines():
        fields = line.split(maxsplit=6)
        port = fields[4].rsplit(":", 1)[-1]
        if port.isdigit():
            program = re.search(r'\("([^"]+)",pid=(\d+)', line)
            found[int(port), fields[0]] = f"`{program[1]}` (process {program[2]})" if program else "another program"
    return found


def _colliding_subnets(stack: Stack, host: Reader) -> Iterator[Problem]:
    """Our range against the machine's routes and other projects' networks; our own networks do not count."""
    ours = ipaddress.ip_network(stack.site.network.subnet)
    present = host.engine.networks()
    own = {subnet for name, subnets in present.items() if name.startswith(f"{stack.project}_") for subnet in subnets}
    routes = json.loads(host.query(("ip", "-json", "-4", "route", "show")).stdout or "[]")
    for route in routes:
        target = ipaddress.ip_network("0.0.0.0/0" if route["dst"] == "default" else route["dst"], strict=False)
        if target.prefixlen < WIDE or str(target) in own or not ours.overlaps(target):
            continue
        yield (
            f"network.subnet {ours} collides with the route to {target} on {route.get('dev', '?')}",
            "choose another private /20 as `subnet` under [network] in kmu.toml",
        )


def _too_little(stack: Stack, host: Reader) -> Iterator[Problem]:
    total = memory(host)
    if total and total < stack.memory() // 2:
        yield (
            f"{total} MiB of memory: these apps may use {stack.memory()} MiB",
            "take a bigger server, or switch apps off under [apps] in kmu.toml",
        )
    yield from (
        (
            f"{free} MiB free on the disk of `{mount}`: {needed} MiB are needed",
            "free some space (`docker image prune`), or take a bigger disk",
        )
        for mount, (free, needed) in _disks(stack, host).items()
        if free < needed
    )


def _disks(stack: Stack, host: Reader) -> dict[str, tuple[int, int]]:
    """MiB free and MiB needed by mount point: the engine's disk, and that of the site's folder."""
    references = {container.image for container in stack.containers()}
    missing = together([partial(host.engine.image, reference) for reference in references]).count(None)
    images = LATER_DISK + (FIRST_DISK - LATER_DISK) * missing // len(references)
    found: dict[str, tuple[int, int]] = {}
    for folder, needed in ((host.engine.folder(), images), (stack.folder, LATER_DISK)):
        mount, free = free_disk(host, folder)
        found.setdefault(mount, (free, needed))
    return found


def _tight_memory(stack: Stack, host: Reader) -> Iterator[str]:
    total = memory(host)
    if total and total < stack.memory():
        yield f"{total} MiB of memory, the apps' limits add up to {stack.memory()} MiB: it may become slow"


def memory(host: Reader) -> int:
    found = re.search(r"MemTotal:\s+(\d+) kB", (host.read("/proc/meminfo") or b"").decode())
    return int(found[1]) // 1024 if found else 0


def free_disk(host: Reader, folder: str) -> tuple[str, int]:
    """The mount point where the folder is, or will be, and the MiB free there."""
    parts = folder.split("/")
    candidates = ["/".join(parts[:count]) or "/" for count in range(len(parts), 0, -1)]
    existing = host.facts(candidates)
    answer = host.query(("df", "-Pk", next(path for path in candidates if path in existing)))
    if answer.code:
        raise HostError(f"cannot see how much disk is free: `df` says: {answer.reason}")
    *_, kilobytes, _, mount = answer.stdout.splitlines()[1].split(maxsplit=5)
    return mount, int(kilobytes) // 1024
