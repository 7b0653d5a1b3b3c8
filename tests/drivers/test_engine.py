"""What the Docker SDK raises in the middle of the work is told in plain words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ReadTimeout

from kmuctl.drivers.engine import DockerEngine
from kmuctl.model.errors import HostError


class Broken:
    """A client for which every question ends in this error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (APIError("500 Server Error\nmore"), "500 Server Error"),
        (NoConnection("Connection aborted."), "Connection aborted."),
        (ReadTimeout(), "ReadTimeout"),
        (ConnectionResetError(104, "Connection reset by peer"), "[Errno 104] Connection reset by peer"),
    ],
)
def test_an_engine_that_fails_in_the_middle(error: Exception, reason: str) -> None:
    engine = DockerEngine()
    engine.__dict__["_client"] = Broken(error)
    for question in (
        engine.version,
        engine.networks,
        lambda: engine.containers("kmu"),
        lambda: engine.image("caddy:2"),
    ):
        with pytest.raises(HostError) as caught:
            question()
        assert caught.value.message == f"the Docker engine failed: {reason}"
        assert caught.value.hint


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("caddy:2.11.7", ("caddy", "2.11.7")),
        ("registry.example:5000/a/caddy:2.11.7", ("registry.example:5000/a/caddy", "2.11.7")),
        (f"caddy:2.11.7@sha256:{'a' * 64}", ("caddy", f"sha256:{'a' * 64}")),
    ],
)
def test_a_digest_is_pulled_by_itself(reference: str, wanted: tuple[str, str]) -> None:
    """Whoever pins one wants this content, whatever the tag has become."""
    pulled: list[tuple[str, str]] = []
    engine = DockerEngine()
    images = SimpleNamespace(pull=lambda name, tag: pulled.append((name, tag)))
    engine.__dict__["_client"] = SimpleNamespace(images=images)
    engine.pull(reference)
    assert pulled == [wanted]


def test_a_bug_keeps_its_traceback() -> None:
    engine = DockerEngine()
    engine.__dict__["_client"] = Broken(KeyError("Version"))
    with pytest.raises(KeyError):
        engine.version()
