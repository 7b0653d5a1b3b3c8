"""coturn's first certificate needs a new start; without one it serves what it can."""

from __future__ import annotations

import pytest

from tests.fakes import FakeHost
from tests.operations.scenes import FOLDER, changed, go_up, plan, running


def give_certificate(host: FakeHost, *kinds: str) -> None:
    for kind in kinds:
        host.write(f"{FOLDER}/data/coturn/certs/turn.{kind}", kind.encode(), mode=0o600, uid=65534)


def test_the_first_certificate_restarts_coturn_once() -> None:
    """K79: TLS on 5349."""
    host = running()
    started = host.engine.made["coturn"].started
    give_certificate(host, "crt", "key")
    assert plan(host)["coturn:tls"].cause == "it started before it had a certificate"
    assert changed(go_up(host)) == {"coturn:tls"}
    assert host.engine.made["coturn"].started > started
    assert changed(go_up(host)) == set()


@pytest.mark.parametrize("kinds", [(), ("crt",), ("key",)], ids=str)
def test_without_both_files_it_is_left_alone(kinds: tuple[str, ...]) -> None:
    """K79: UDP and TCP work without."""
    host = running()
    give_certificate(host, *kinds)
    assert "coturn:tls" not in changed(plan(host))
