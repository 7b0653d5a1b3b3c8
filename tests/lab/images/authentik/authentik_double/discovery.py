"""The worker's blueprint discovery: own files, their instances and their status."""

import hashlib
import logging
import time
from pathlib import Path

import psycopg

from .defaults import apply_late
from .importer import apply, parse
from .store import Row, Rows, Store
from .tags import BlueprintInvalid

ROOT = Path("/blueprints")
INSTANCE = "authentik_blueprints.blueprintinstance"
INSTANTIATE = "blueprints.goauthentik.io/instantiate"
log = logging.getLogger("blueprints")


def own_files(root: Path) -> list[Path]:
    found = sorted((root / "custom").glob("**/*.yaml"))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]


def discover(store: Store, root: Path = ROOT) -> None:
    """One pass. Every changed file is applied once; the status tells how it ended."""
    files = {str(path.relative_to(root)): path for path in own_files(root)}
    with store.transaction() as rows:
        for row in [row for row in rows.all(INSTANCE) if row["path"].startswith("custom/")]:
            if row["path"] not in files:
                rows.delete(row["pk"])
    for name, path in files.items():
        _visit(store, name, path.read_bytes())


def _visit(store: Store, name: str, content: bytes) -> None:
    digest = hashlib.sha512(content).hexdigest()
    with store.transaction() as rows:
        row = rows.find(INSTANCE, path=name)
        forced = bool(row and row.pop("_apply", False))
        if row and row.get("_seen") == digest and not forced:
            return
        row = row or _new_instance(rows, name, content)
        row["_seen"] = digest
        labels = row["metadata"].get("labels") or {}
        automatic = str(labels.get(INSTANTIATE, "true")).lower() != "false"
    if automatic or forced:
        _apply_instance(store, row, content, digest)


def _new_instance(rows: Rows, name: str, content: bytes) -> Row:
    try:
        metadata = parse(content.decode(errors="replace")).get("metadata") or {}
    except BlueprintInvalid as error:
        log.warning("%s: %s", name, error)
        metadata = {"name": name}
    if rows.find(INSTANCE, name=metadata["name"]):
        log.warning("%s: metadata.name %r is used by another blueprint", name, metadata["name"])
    row = rows.add(INSTANCE, name=metadata["name"], path=name, metadata=metadata, enabled=True, content="", context={})
    row.update(status="unknown", last_applied_hash="", last_applied=_now())
    return row


def _apply_instance(store: Store, instance: Row, content: bytes, digest: str) -> None:
    try:
        with store.transaction() as rows:
            apply(rows, content.decode(errors="replace"))
        outcome = {"status": "successful", "last_applied_hash": digest}
    except BlueprintInvalid as error:
        log.error("%s: %s", instance["path"], error)
        outcome = {"status": "error"}
    with store.transaction() as rows:
        row = rows.find(INSTANCE, pk=instance["pk"])
        if row:
            row.update(outcome, last_applied=_now())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def watch(store: Store) -> None:
    late = False
    while True:
        try:
            discover(store)
            if not late:
                with store.transaction() as rows:
                    apply_late(rows)
                late = True
        except (psycopg.Error, OSError) as error:
            log.error("discovery: %s", error)
        time.sleep(2)
