"""The two programs that ask Authentik in the name of others: forward auth inside the server, LDAP beside it."""

from __future__ import annotations

from kmuctl.model.host import Reader
from kmuctl.model.step import Drift, Step, wait_only
from kmuctl.operations.authentik.api import SERVER, Api, not_serving

OUTPOSTS, DEADLINE = {"authentik Embedded Outpost": SERVER, "ldap": "authentik-ldap"}, 120
"""Names, and the containers in which they run."""


def outposts_step(api: Api, *, after: tuple[str, ...]) -> Step:
    """Each outpost is there and connected; without, every protected page and every mailbox is shut."""

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        present = {outpost["name"]: outpost["pk"] for outpost in api.rows(host, "outposts/instances/")}
        for name, container in OUTPOSTS.items():
            if name not in present:
                return Drift(f"Authentik has no outpost `{name}`")
            if not api.get(host, f"outposts/instances/{present[name]}/health/"):
                return Drift(f"the outpost `{name}` is not connected", hint=f"`kmuctl logs {container}` shows more")
        return None

    return Step(
        name="authentik:outposts", check=check, apply=wait_only, after=after, deadline=DEADLINE,
        logs=tuple(OUTPOSTS.values()),
    )  # fmt: skip
