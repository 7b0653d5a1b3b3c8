"""Chat is found by a program that knows nothing but the domain: asked through Caddy, by the public names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Reader
from kmuctl.model.secrets import Secrets
from kmuctl.model.site import Site
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.model.step import Drift, Step, unseen, wait_only
from kmuctl.operations.caddy import CADDY
from kmuctl.operations.containers import serving
from kmuctl.operations.render import Rendered
from kmuctl.operations.synapse import CONTAINER

VISIT = (
    "curl", "-sSk", "--max-time", "5", "--connect-to", "::127.0.0.1:", "--write-out", r"\n%{http_code} %{exitcode}\n",
)  # fmt: skip
"""Pages in one go, whatever DNS says; who has which certificate is looked at elsewhere (`certs.py`)."""
PAGE = re.compile(r"(.*?)\n(\d{3}) (\d+)\n", re.DOTALL)
NO_CERTIFICATE = 35
"""How curl ends where Caddy still waits for one, as long as DNS needs."""


def wiring(stack: Stack, secrets: Secrets, rendered: Rendered) -> Iterator[Step]:
    if CONTAINER in stack:
        yield reachable_step(stack.site, after=(f"container:{CONTAINER}", "certs:issued"))


def reachable_step(site: Site, *, after: tuple[str, ...]) -> Step:
    """Both well-known files lead to the server, and it answers there (K116)."""
    pages = _pages(site)

    def check(host: Reader) -> Drift | None:
        for name, product in ((CADDY, "Caddy"), (CONTAINER, "Synapse")):
            if not serving(host, name):
                return unseen(product)
        return next(_differences(host, pages), None)

    return Step(
        name="synapse:reachable", check=check, apply=wait_only, after=after, deadline=30, logs=(CADDY, CONTAINER),
        hint=f"`kmuctl logs {CADDY}` and `kmuctl logs {CONTAINER}` show more; then run `kmuctl up` again",
    )  # fmt: skip


def _pages(site: Site) -> dict[str, tuple[str, Any]]:
    """By address: a key of what is said there, and what it must be; None for anything."""
    scheme = "http" if site.tls.mode == "off" else "https"
    known = f"{scheme}://{site.domain}/.well-known/matrix"
    return {
        f"{known}/client": ("m.homeserver", {"base_url": site.url("matrix")}),
        f"{known}/server": ("m.server", f"{site.fqdn('matrix')}:443"),
        f"{scheme}://{site.fqdn('matrix')}/_matrix/client/versions": ("versions", None),
    }


def _differences(host: Reader, pages: Mapping[str, tuple[str, Any]]) -> Iterator[Drift]:
    answer = host.engine.ask(PROJECT, CADDY, (*VISIT, *pages))
    found = PAGE.findall(answer.stdout)
    if len(found) != len(pages):
        raise StepFailed(f"curl in Caddy's container says: {answer.reason}")
    for (address, (key, wanted)), (body, status, end) in zip(pages.items(), found, strict=True):
        said = _said(body, key)
        if int(end) == NO_CERTIFICATE:
            continue
        if int(end):
            yield Drift(f"{address} cannot be opened: curl ends with {end}")
        elif status != "200":
            yield Drift(f"{address} answers {status}")
        elif said is None or wanted not in (None, said):
            shown = f"`{body[:100]}`" if said is None else said
            yield Drift(f"{address} says {shown}" + (f" instead of {wanted}" if wanted else ""))


def _said(body: str, key: str) -> Any:
    try:
        return json.loads(body)[key]
    except (ValueError, LookupError, TypeError):
        return None
