"""The certificates that Caddy has, served by mail and by the calls' relay too (`kmuctl certs sync`, and `up`).

A step of its own looks at what is served, by a handshake: a reload that was missed, or that did not work, shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import Door, Host, Reader, StartTls
from kmuctl.model.secrets import Secrets
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step, few, wait_only
from kmuctl.operations import caddy
from kmuctl.operations.caddy import CADDY
from kmuctl.operations.certificates import Fault, Pair, fault, has_source, of_caddy, pair_of, serial, without
from kmuctl.operations.containers import serving
from kmuctl.operations.render import Rendered
from kmuctl.operations.stalwart.registry import Registry, Row, known_key
from kmuctl.operations.together import together

PATIENCE = 60
"""Seconds that Caddy may take for its certificates after a start; without DNS it takes days."""
DEADLINE = 20
MODE = 0o600


@dataclass(frozen=True, slots=True)
class Consumer:
    """A program that serves a certificate of Caddy's, which it finds in its state folder `certs`."""

    container: str
    """Also the service's name."""
    host: str
    doors: tuple[tuple[int, StartTls], ...]
    """Ports, each with the protocol of its STARTTLS."""
    after: tuple[str, ...] = ()
    """Steps that open them."""

    def name(self, stack: Stack) -> str:
        return stack.site.fqdn(self.host)

    def file(self, stack: Stack) -> str:
        return f"{stack.data(self.container, 'certs')}/{self.host}.pem"


CALLS = Consumer("coturn", "turn", ((5349, ""),))
MAIL = Consumer("stalwart", "mail", ((993, ""), (465, ""), (587, "smtp"), (25, "smtp")), ("stalwart:directory",))
INSIDE = {"@type": "File", "filePath": f"/certs/{MAIL.host}.pem"}
"""The file as Stalwart's container sees it."""


def consumers(stack: Stack) -> list[Consumer]:
    return [consumer for consumer in (CALLS, MAIL) if consumer.container in stack and has_source(stack)]


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    yield from steps(stack)


def sync_steps(stack: Stack) -> list[Step]:
    """What `kmuctl certs sync` sees to: the same without a whole `up` before it."""
    own = [caddy.certificate_step(stack)] if stack.site.tls.mode == "files" else []
    found = [*own, *steps(stack)]
    names = {step.name for step in found}
    return [replace(step, after=tuple(name for name in step.after if name in names)) for step in found]


def steps(stack: Stack) -> Iterator[Step]:
    yield awaited_step(stack)
    for consumer in consumers(stack):
        yield copy_step(stack, consumer)
        yield served_step(stack, consumer)


def awaited_step(stack: Stack) -> Step:
    """Caddy has had the time to get its certificates; when DNS is not ready this holds without them."""

    def check(host: Reader) -> Drift | None:
        if not serving(host, CADDY):
            return Drift("can be seen when Caddy runs", unknown=True)
        found = [item for consumer in consumers(stack) if (item := _fault(stack, host, consumer))]
        if torn := [item.text for item in found if item.torn]:
            return Drift(torn[0], hopeless=not of_caddy(stack))
        missing = [*without(stack, host), *(item.text for item in found if of_caddy(stack))]
        return Drift(f"Caddy is getting {few(missing)}", unknown=True) if missing and _fresh(stack, host) else None

    after = ("container:caddy", "caddy:config", *(["certificate"] if stack.site.tls.mode == "files" else []))
    hint = "mend the files under [tls]" if stack.site.tls.given else "`kmuctl logs caddy` shows more"
    return Step(
        name="certs:issued", check=check, apply=wait_only, after=after, deadline=PATIENCE, hint=hint, logs=(CADDY,)
    )


def copy_step(stack: Stack, consumer: Consumer) -> Step:
    """The program's own copy, which it alone may read, is the certificate of today."""
    uid, path = stack[consumer.container].container(consumer.container).uid, consumer.file(stack)

    def check(host: Reader) -> Drift | None:
        if not serving(host, CADDY):
            return Drift("can be seen when Caddy runs", unknown=True)
        if (pair := usable(stack, host, consumer)) is None:
            return None
        present = host.facts([path]).get(path)
        wanted = (sha256(pair.together).hexdigest(), MODE, uid)
        same = present is not None and (present.digest, present.mode, present.uid) == wanted
        return None if same else Drift(f"{consumer.name(stack)} is {'new' if present else 'to hand over'}")

    def apply(host: Host) -> None:
        if pair := usable(stack, host, consumer):
            host.write(path, pair.together, mode=MODE, uid=uid)

    after = ("certs:issued", f"data:{consumer.container}")
    return Step(name=f"certs:{consumer.host}", check=check, apply=apply, after=after)


def served_step(stack: Stack, consumer: Consumer) -> Step:
    """On each of its ports the program shows the certificate that lies in its folder."""

    def check(host: Reader) -> Drift | None:
        if not serving(host, consumer.container):
            return Drift(f"can be seen when {consumer.container} runs", unknown=True)
        if (content := host.read(consumer.file(stack))) is None:
            return None
        if consumer is MAIL and (drift := _unregistered(stack, host)):
            return drift
        return _otherwise_served(stack, host, consumer, serial(content))

    def apply(host: Host) -> None:
        if not serving(host, consumer.container):
            raise StepFailed(f"{consumer.container} is not running", hint="`kmuctl up` starts it")
        if consumer is MAIL:
            _register(stack, host)
        else:
            _reload_calls(stack, host)

    return Step(
        name=f"certs:{consumer.host}:served", check=check, apply=apply, deadline=DEADLINE, logs=(consumer.container,),
        after=(f"certs:{consumer.host}", f"container:{consumer.container}", *consumer.after),
        hint=f"`kmuctl logs {consumer.container}` shows more; then run `kmuctl certs sync` again",
    )  # fmt: skip


def _otherwise_served(stack: Stack, host: Reader, consumer: Consumer, wanted: int) -> Drift | None:
    doors = [Door(consumer.container, port, consumer.name(stack), starttls) for port, starttls in consumer.doors]
    return next(filter(None, together([partial(_behind, host, door, wanted) for door in doors])), None)


def _behind(host: Reader, door: Door, wanted: int) -> Drift | None:
    try:
        found = host.tls.serial(door)
    except HostError as error:
        return Drift(error.message)
    if found == wanted:
        return None
    return Drift(f"port {door.port} of {door.name} serves an old certificate: serial {found:x} instead of {wanted:x}")


def _reload_calls(stack: Stack, host: Host) -> None:
    """coturn that started without a certificate has no port for TLS, and a reload opens none."""
    try:
        host.tls.serial(Door(CALLS.container, CALLS.doors[0][0], CALLS.name(stack)))
    except HostError:
        host.engine.restart(PROJECT, CALLS.container)
    else:
        host.engine.signal(PROJECT, CALLS.container, "SIGUSR2")


def _unregistered(stack: Stack, host: Reader) -> Drift | None:
    key = known_key(stack, host)
    if key is None:
        return Drift("can be seen when kmuctl has its key to Stalwart", unknown=True)
    row = _row(Registry(key), host)
    if row is None:
        return Drift("Stalwart does not know the file yet")
    return None if _default(Registry(key), host) == row["id"] else Drift("it is not Stalwart's own certificate yet")


def _register(stack: Stack, host: Host) -> None:
    """The row refers to the file, so a renewal only needs the reload. An expired one Stalwart may have deleted."""
    key = known_key(stack, host)
    if key is None:
        raise StepFailed("kmuctl has no key to Stalwart", hint="`kmuctl up` makes it")
    registry = Registry(key)
    row = _row(registry, host)
    if row is None:
        body = {"certificate": INSIDE, "privateKey": INSIDE}
        row = registry.change(host, "Certificate", create={"own": body})["created"]["own"]
    if _default(registry, host) != row["id"]:
        registry.change(host, "SystemSettings", update={"singleton": {"defaultCertificateId": row["id"]}})
    registry.change(host, "Action", create={"reload": {"@type": "ReloadTlsCertificates"}})


def _row(registry: Registry, host: Reader) -> Row | None:
    rows = registry.rows(host, "Certificate")
    return next((row for row in rows if row["certificate"] == INSIDE and row["privateKey"] == INSIDE), None)


def _default(registry: Registry, host: Reader) -> str | None:
    """For clients that do not say which name they want."""
    [settings] = registry.rows(host, "SystemSettings", ids=["singleton"])
    found: str | None = settings.get("defaultCertificateId")
    return found


def usable(stack: Stack, host: Reader, consumer: Consumer) -> Pair | None:
    pair = pair_of(stack, host, consumer.name(stack))
    return pair if pair and fault(pair, consumer.name(stack)) is None else None


def _fault(stack: Stack, host: Reader, consumer: Consumer) -> Fault | None:
    pair = pair_of(stack, host, consumer.name(stack))
    return fault(pair, consumer.name(stack)) if pair else None


def faults(stack: Stack, host: Reader) -> list[str]:
    """What keeps mail or calls from having a certificate, and does not pass by itself."""
    found = [(consumer, _fault(stack, host, consumer)) for consumer in consumers(stack)]
    return [f"{consumer.container} cannot have it: {item.text}" for consumer, item in found if item]


def missing(stack: Stack, host: Reader) -> list[str]:
    """What an admin has to know about certificates that are not there yet."""
    if names := without(stack, host):
        return [
            f"no certificate yet for {few(names)}: these addresses do not open. Caddy goes on asking until DNS "
            "leads here (`kmuctl dns` says what to set, `kmuctl logs caddy` what is in the way); `kmuctl certs sync` "
            "hands those of mail and calls on"
        ]
    served = [consumer.name(stack) for consumer in (CALLS, MAIL) if consumer.container in stack]
    if served and not has_source(stack):
        return [
            f"the proxy in front has the certificates: {' and '.join(served)} have none for mail and calls. Put files "
            "with them on this machine, and name them as `certificate` and `key` under [tls]"
        ]
    return []


def _fresh(stack: Stack, host: Reader) -> bool:
    """Caddy, or its configuration, is so young that certificates may be on their way."""
    path = f"{stack.rendered}/caddy/Caddyfile"
    moments = [fact.started for fact in host.engine.containers(PROJECT, [CADDY]).values()]
    moments += [fact.written for fact in host.facts([path]).values()]
    return 0 <= host.now() - max(moments, default=0) < PATIENCE
