"""`kmuctl dns --format zone` as BIND reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmuctl.model.service import Record
from kmuctl.operations.dns import zone
from tests.rendered.sites import SITES, project
from tests.tools.programs import run

pytestmark = pytest.mark.tool

HEAD = "@ 3600 IN SOA ns.example. hostmaster.example. 1 3600 600 86400 3600\n@ 3600 IN NS ns.example.\n"
KEY = Record("v1-rsa-20261121._domainkey", "TXT", f"v=DKIM1; k=rsa; h=sha256; p={'x' * 392}")


def read_by_bind(text: str, domain: str, folder: Path) -> list[list[str]]:
    """The zone as BIND writes it out again."""
    (folder / "zone").write_text(HEAD + text)
    words = ("-i", "local", "-D", "-q", domain)
    return [line.split(maxsplit=4) for line in run("named-checkzone", *words, folder / "zone").splitlines()]


@pytest.mark.parametrize("site", SITES)
def test_bind_reads_every_record(site: str, tmp_path: Path) -> None:
    """K21, D53: none is lost, none is changed; what is left open does not count."""
    stack = project(site).stack
    records = [*stack.records(), KEY]
    found = read_by_bind(zone(stack, records, ["a remark"]), stack.site.domain, tmp_path)
    read = {(name, kind, value.replace('" "', "")) for name, _, _, kind, value in found if kind not in ("SOA", "NS")}
    assert read == {_as_read(record, stack.site.domain) for record in records if record.complete}


def _as_read(record: Record, domain: str) -> tuple[str, str, str]:
    name = f"{domain}." if record.name == "@" else f"{record.name}.{domain}."
    return name, record.type, f'"{record.value}"' if record.type == "TXT" else record.value


def test_a_long_key_is_several_strings(tmp_path: Path) -> None:
    """None of more than 255 bytes: BIND refuses a longer one."""
    stack = project("core").stack
    line = next(line for line in zone(stack, [KEY], []).splitlines() if "_domainkey" in line)
    strings = line.partition(" TXT ")[2].strip('"').split('" "')
    assert [len(string) for string in strings] == [255, len(KEY.value) - 255]
