"""People are not kmuctl's business, but for one thing: mail must find them."""

from __future__ import annotations

from collections.abc import Iterator

from kmuctl.model.host import Host, Reader
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.authentik.api import Api, Row, not_serving

PEOPLE = "core/users/?groups_by_name=kmu-users&include_groups=false&include_roles=false"


def addresses_step(api: Api, *, after: tuple[str, ...]) -> Step:
    """No address has capitals: Stalwart asks in small letters, and Authentik compares letter by letter (seen)."""

    def check(host: Reader) -> Drift | None:
        if drift := not_serving(host):
            return drift
        names = few(row["username"] for row in _with_capitals(api, host))
        return Drift(f"mail would not find {names}, whose address has capitals") if names else None

    def apply(host: Host) -> None:
        for row in _with_capitals(api, host):
            api.send(host, "PATCH", f"core/users/{row['pk']}/", {"email": row["email"].lower()})

    return Step(name="authentik:addresses", check=check, apply=apply, after=after)


def _with_capitals(api: Api, host: Reader) -> Iterator[Row]:
    return (row for row in api.rows(host, PEOPLE) if row["email"] != row["email"].lower())
