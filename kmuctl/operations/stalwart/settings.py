"""The settings of the running Stalwart are those of the plan, and live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secret, Secrets
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few, unseen
from kmuctl.operations.authentik.blueprints import apply_now
from kmuctl.operations.containers import compose_up, serving
from kmuctl.operations.render import Rendered
from kmuctl.operations.stalwart.plan import Operation, differences, fulfil, read_plan
from kmuctl.operations.stalwart.registry import CONTAINER, Registry, known, known_key
from kmuctl.operations.stalwart.setup import PLAN

RESTARTING = frozenset({"NetworkListener"})
"""Types that a reload does not reach (upstream/stalwart.md 3)."""
DEADLINE = 60
OUTPOST, DIRECTORY_BLUEPRINTS = "authentik-ldap", ("10-base", "30-ldap")


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    if "stalwart" in stack:
        yield (step := settings_step(stack, rendered, after=(f"container:{CONTAINER}",)))
        yield directory_step(stack, secrets, _plan(rendered), after=(step.name, "authentik:outposts"))


def _directory(plan: Iterable[Operation]) -> tuple[str, str]:
    """Where people are looked up, and as whom."""
    [body] = [value for one in plan if one.object == "Directory" for value in one.value.values()]
    return body["url"], body["bindDn"]


def directory_step(
    stack: Stack, secrets: Mapping[str, Secret], plan: Iterable[Operation], *, after: tuple[str, ...]
) -> Step:
    """noreply can sign in: the directory's own account may search, and its passwords are those of the secrets file.

    Authentik shows neither keys of tokens nor what they are worth. Without the right to search, everybody is unknown to
    it, and mail is refused for good: nobody may hand any in until that is mended.
    """
    sender = Registry(user=(f"noreply@{stack.site.domain}", secrets["authentik_noreply_password"]))
    url, bind = _directory(plan)

    def check(host: Reader) -> Drift | None:
        if not serving(host, CONTAINER):
            return unseen("Stalwart")
        reply = sender.session(host)
        if reply.status == 500:
            why = f"the directory {url} is away, or refuses the account `{bind}`"
            return Drift(f"Stalwart cannot look people up (it answers 500: {reply.said}): {why}")
        if known(reply):
            return None
        # each look is a failed login: too many of them would shut noreply out
        return Drift("Stalwart does not let noreply in: people cannot sign in either", hopeless=True)

    def apply(host: Host) -> None:
        host.engine.stop(stack.project, CONTAINER)
        for name in DIRECTORY_BLUEPRINTS:
            apply_now(host, name)
        # it keeps what an account may do for as long as that is connected (seen in 2026.8.0)
        host.engine.restart(stack.project, OUTPOST)
        compose_up(host, stack.rendered, CONTAINER)

    return Step(
        name="stalwart:directory", check=check, apply=apply, after=after, deadline=DEADLINE, logs=(CONTAINER, OUTPOST),
        hint=f"what the directory needs was set again, in vain: `kmuctl logs {OUTPOST}` shows who is refused",
    )  # fmt: skip


def _plan(rendered: Rendered) -> tuple[Operation, ...]:
    return read_plan(rendered.files[PLAN].content.decode())


def settings_step(stack: Stack, rendered: Rendered, *, after: tuple[str, ...]) -> Step:
    plan = _plan(rendered)
    unloaded = f"{stack.folder}/state/stalwart.unloaded"

    def check(host: Reader) -> Drift | None:
        key = known_key(stack, host)
        if key is None or not serving(host, CONTAINER):
            return unseen("Stalwart")
        if found := differences(plan, Registry(key), host):
            return Drift(few((change.why for change in found), most=2, joint="; "))
        # it stands there from before the first change until after the reload: also when we are killed in between
        return Drift("changed settings are not loaded yet") if host.read(unloaded) is not None else None

    def apply(host: Host) -> None:
        registry = Registry(known_key(stack, host))
        interrupted = host.read(unloaded) is not None
        host.write(unloaded, b"")
        touched = fulfil(plan, registry, host)
        registry.change(host, "Action", create={"reload": {"@type": "ReloadSettings"}})
        # nobody knows any more what an earlier run had changed
        if interrupted or touched & RESTARTING:
            host.engine.restart(stack.project, CONTAINER)
        host.remove(unloaded)

    return Step(
        name="stalwart:settings", check=check, apply=apply, after=after, deadline=DEADLINE, logs=(CONTAINER,),
        hint=f"`kmuctl logs {CONTAINER}` shows more",
    )  # fmt: skip
