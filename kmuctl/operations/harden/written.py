"""Files of ours below /etc, and which of them are not as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from kmuctl.model.host import Reader


def exists(host: Reader, path: str) -> bool:
    """Without reading it, as `facts` does: it may be big."""
    return host.query(("test", "-e", path)).code == 0


def differing(host: Reader, files: Mapping[str, bytes], *, mode: int = 0o644) -> list[str]:
    facts = host.facts(files)
    return [
        path
        for path, content in files.items()
        if (fact := facts.get(path)) is None
        or (fact.digest, fact.mode, fact.uid) != (sha256(content).hexdigest(), mode, 0)
    ]
