"""Somebody administers mail: the plan sees to the first admin, but only one whose address is the company's."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.host import Reader
from kmuctl.model.secrets import Secrets
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, unseen, wait_only
from kmuctl.operations.containers import serving
from kmuctl.operations.render import Rendered
from kmuctl.operations.stalwart.registry import CONTAINER, Registry, Row, known_key
from kmuctl.operations.stalwart.setup import ACCOUNT

ADVICE = """\
give somebody with a mailbox the right: `kmuctl stalwart-cli query Account --where name=NAME --fields name` \
(NAME stands before the @; an account is there after the first sign-in) shows the id, then \
`kmuctl stalwart-cli update Account ID --json '{"roles":{"@type":"Admin"}}'`"""


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    if "stalwart" in stack and not stack.site.admin.email.endswith(f"@{stack.site.domain}"):
        yield administrators_step(stack, after=("stalwart:directory",))


def administrators_step(stack: Stack, *, after: tuple[str, ...]) -> Step:
    """No wish that `up` could fulfil: who it is to be, the company decides.

    After the last step that may stop mail.
    """

    def check(host: Reader) -> Drift | None:
        key = known_key(stack, host)
        if key is None or not serving(host, CONTAINER):
            return unseen("Stalwart")
        if any(map(_administers, Registry(key).rows(host, "Account", properties=["name", "roles"]))):
            return None
        email, domain = stack.site.admin.email, stack.site.display_domain
        return Drift(f"nobody administers mail, because {email} is no address of {domain}: {ADVICE}", tolerable=True)

    return Step(name="stalwart:administrators", check=check, apply=wait_only, after=after)


def _administers(account: Row) -> bool:
    """A person with more than everybody's rights; whatever role of the company's own that is."""
    return account["name"] != ACCOUNT and account.get("roles", {}).get("@type") in ("Admin", "Custom")
