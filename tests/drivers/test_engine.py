"""What the Docker SDK raises in the middle of the work is told in plain words."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ReadTimeout

from kmuctl.drivers.engine import PROJECT, SERVICE, DockerEngine
from kmuctl.model.errors import HostError, StepFailed


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

    def pull(name: str, tag: str) -> list[dict[str, str]]:
        pulled.append((name, tag))
        return [{"status": "Pulling"}]

    engine = DockerEngine()
    engine.__dict__["_client"] = registry(pull)
    engine.pull(reference)
    assert pulled == [wanted]


@pytest.mark.parametrize(
    ("error", "hint"),
    [("write /layer.tar: no space left on device", "disk is full"), ("unauthorized", "under [images]")],
)
def test_a_pull_that_breaks_off_is_no_success(error: str, hint: str) -> None:
    """The answer has long begun, with code 200, when a layer cannot be written."""
    engine = DockerEngine()
    engine.__dict__["_client"] = registry(lambda name, tag: [{"status": "Extracting"}, {"error": error}])
    with pytest.raises(StepFailed, match=f"cannot pull `caddy:2.11.7`: {error}") as caught:
        engine.pull("caddy:2.11.7")
    assert hint in caught.value.hint


def registry(pull: Callable[[str, str], list[dict[str, str]]]) -> SimpleNamespace:
    return SimpleNamespace(api=SimpleNamespace(pull=lambda name, tag, **_: pull(name, tag)))


def recorded(asked: list[int]) -> Callable[[int], None]:
    def restart(timeout: int) -> None:
        asked.append(timeout)

    return restart


@pytest.mark.parametrize(("definition", "seconds"), [({"StopTimeout": 60}, 60), ({}, 10)])
def test_a_container_has_the_time_to_stop_that_it_was_given(definition: dict[str, int], seconds: int) -> None:
    """PostgreSQL writes its checkpoint; killed in the middle it would start with a recovery."""
    asked: list[int] = []
    container = SimpleNamespace(attrs={"Config": definition}, restart=recorded(asked), labels=labels("postgres"))
    engine = DockerEngine()
    engine.__dict__["_client"] = SimpleNamespace(containers=SimpleNamespace(get=lambda name: container))
    engine.restart("kmu", "postgres")
    assert asked == [seconds]


def labels(service: str) -> dict[str, str]:
    return {PROJECT: "kmu", SERVICE: service}


@pytest.mark.parametrize("there", [None, "another", "foreign"])
def test_a_container_of_another_name_is_found_by_its_labels(there: str | None) -> None:
    """An old Compose, or a name that somebody chose; and who only has the name is none of ours."""
    asked: list[int] = []
    ours = SimpleNamespace(attrs={"Config": {}}, restart=recorded(asked), labels=labels("postgres"))

    def get(name: str) -> SimpleNamespace:
        if there is None:
            raise NotFound(name)
        return SimpleNamespace(labels=labels("caddy") if there == "another" else {})

    engine = DockerEngine()
    engine.__dict__["_client"] = SimpleNamespace(containers=SimpleNamespace(get=get, list=lambda **_: [ours]))
    engine.restart("kmu", "postgres")
    assert asked == [10]


@pytest.mark.parametrize("elsewhere", ["ssh://root@203.0.113.9", "tcp://127.0.0.1:2375"])
def test_another_machines_engine_is_refused(monkeypatch: pytest.MonkeyPatch, elsewhere: str) -> None:
    """Files would be written here, containers started there."""
    monkeypatch.setenv("DOCKER_HOST", elsewhere)
    with pytest.raises(HostError, match="DOCKER_HOST leads to"):
        DockerEngine().version()


def test_a_bug_keeps_its_traceback() -> None:
    engine = DockerEngine()
    engine.__dict__["_client"] = Broken(KeyError("Version"))
    with pytest.raises(KeyError):
        engine.version()
