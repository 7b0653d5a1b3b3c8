"""Caddy's pages, as far as kmuctl visits them: what the Caddyfile itself says, and what Synapse does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kmuctl.model.errors import HostError
from kmuctl.model.host import Answer, Call
from tests.fakes.untaught import Untaught

if TYPE_CHECKING:
    from tests.fakes.host import FakeHost

NO_CERTIFICATE, REFUSED = 35, 7


def visit(host: FakeHost, caddyfile: str, addresses: Sequence[str]) -> Answer:
    """As curl prints one page after the other, each with its status and how it went."""
    return Answer(0, "".join(_page(host, caddyfile, address) for address in addresses))


def _page(host: FakeHost, caddyfile: str, address: str) -> str:
    url = urlsplit(address)
    name = f"http://{url.netloc}" if url.scheme == "http" else url.netloc
    block = re.search(rf"^{re.escape(name)} {{$(.*?)^}}$", caddyfile, re.MULTILINE | re.DOTALL)
    if block is None:
        return f"\n000 {REFUSED}\n"
    if url.scheme == "https" and not host.engine.certifies:
        return f"\n000 {NO_CERTIFICATE}\n"
    if own := re.search(rf"handle {re.escape(url.path)} {{.*?respond `(.*?)` 200", block[1], re.DOTALL):
        return f"{own[1]}\n200 0\n"
    if "import up synapse:8008" not in block[1]:
        raise Untaught(address)
    try:
        reply = host.http.ask(Call(container="synapse", port=8008, path=url.path))
    except HostError:
        return "\n502 0\n"
    return f"{reply.text}\n{reply.status} 0\n"
