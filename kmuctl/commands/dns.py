"""`kmuctl dns`: the records to set, as a table, a zone file or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmuctl.commands.host import host_of
from kmuctl.console import Console
from kmuctl.model.errors import ConfigError, KmuError
from kmuctl.model.service import Record
from kmuctl.model.stack import Stack
from kmuctl.operations.dns import keys, lacking, remarks, reverse, zone

FORMATS = ("table", "zone", "json")


def run(console: Console, stack: Stack, form: str) -> None:
    """Show every record; what cannot be known yet is a warning, not a wrong record."""
    console.as_json |= form == "json"
    own, warnings = _keys(stack)
    records = (*stack.records(), *own)
    warnings += lacking(records)
    if console.as_json:
        console.result("", data(stack, records) | {"warnings": warnings})
        return
    for warning in warnings:
        console.warn(warning)
    if form == "zone":
        console.result(zone(stack, records, (*warnings, *remarks(stack))), {})
    else:
        table(console, stack, records)


def require_format(console: Console, form: str) -> None:
    if form not in ("", *FORMATS):
        raise ConfigError(f"--format: `{form}` is unknown", hint="`table`, `zone` or `json`")
    if console.as_json and form not in ("", "json"):
        raise ConfigError(f"--json and --format {form} exclude each other", hint="leave one of the two out")


def _keys(stack: Stack) -> tuple[tuple[Record, ...], list[str]]:
    """Whatever keeps us from Stalwart, the other records are worth showing."""
    try:
        return (keys(stack, host_of(stack)) if "stalwart" in stack else ()), []
    except KmuError as error:
        return (), [f"no DKIM records: {error.message}" + (f" ({error.hint})" if error.hint else "")]


def data(stack: Stack, records: Iterable[Record]) -> dict[str, Any]:
    """For programs. Nothing in `records` has a gap; what has one is in `incomplete`."""
    listed = [*records]
    return {
        "domain": stack.site.domain,
        "records": [record_data(record) for record in listed if record.complete],
        "incomplete": [record_data(record) for record in listed if not record.complete],
        "reverse": [{"address": item.address, "name": item.name, "value": item.value} for item in reverse(stack)],
        "remarks": remarks(stack),
    }


def record_data(record: Record) -> dict[str, str]:
    return {"name": record.name, "type": record.type, "value": record.value}


def table(console: Console, stack: Stack, records: Iterable[Record], note: str = "") -> None:
    rows = [(record.name, record.type, record.value) for record in records]
    console.table(["name", "type", "value"], rows, "DNS records to set" + note)
    lines = [f"Reverse DNS, set at the server's provider: {item.address} -> {item.value}" for item in reverse(stack)]
    console.result("\n".join([*lines, *remarks(stack), ""]), {})
