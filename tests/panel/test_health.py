"""The health check program: exit codes, and what it prints."""

from __future__ import annotations

import pytest

from kmuctl.panel.health import main
from tests.panel.support import authentik


@pytest.mark.parametrize(("status", "code", "printed"), [(200, 0, ""), (503, 1, "because\n"), (201, 1, "because\n")])
def test_succeeds_on_200_only(status: int, code: int, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with authentik() as server:
        server.status = status
        assert main([f"{server.url}/healthz"]) == code
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/healthz", "nonsense"])
def test_fails_without_an_answer(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url]) == 1
    assert f"no answer from {url}" in capsys.readouterr().out


def test_wants_one_address() -> None:
    assert main([]) == 2
