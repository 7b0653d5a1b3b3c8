"""Our own certificate authority, for the containers that ask our own names."""

from __future__ import annotations

from tests.operations.scenes import FOLDER, changed, empty, go_up, plan

COPY = f"{FOLDER}/data/caddy/authority/root.crt"
INTERNAL = {"mode": "internal"}


def test_synapse_finds_the_authority_when_it_starts() -> None:
    """K67: it mounts the folder, which the fake engine insists on."""
    host = empty()
    assert plan(host, tls=INTERNAL)["caddy:authority"].cause == "Caddy makes it when it starts first"
    assert "caddy:authority" in changed(go_up(host, tls=INTERNAL))
    assert host.read(COPY) == b"a certificate of its own"
    assert host.facts([COPY])[COPY].mode == 0o644
    assert changed(go_up(host, tls=INTERNAL)) == set()


def test_with_public_certificates_there_is_none() -> None:
    host = empty()
    assert "caddy:authority" not in go_up(host)
    assert host.read(COPY) is None
