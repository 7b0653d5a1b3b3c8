"""The rendered folder as the real `docker compose` reads it (K17, K90, K111; names reach it unexpanded)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kmuctl.assets import sources
from kmuctl.operations.render import render
from tests.rendered.sites import CONTAINERS, SITES, Recognisable, project
from tests.support import AWKWARD_NAME, stack
from tests.tools.programs import run, write_tree

pytestmark = pytest.mark.tool


def config(folder: Path) -> dict[str, Any]:
    """The project after Compose has filled in every variable; `$` is doubled in its output as in its input."""
    loaded: dict[str, Any] = json.loads(run("docker", "compose", "config", "--format", "json", cwd=folder))
    return loaded


def halved(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, dict):
        return {key: halved(item) for key, item in value.items()}
    return [halved(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("site", SITES)
def test_compose_accepts_the_folder_without_a_word(site: str, tmp_path: Path) -> None:
    write_tree(tmp_path / "rendered", project(site).files)
    assert run("docker", "compose", "config", "--quiet", cwd=tmp_path / "rendered") == ""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("project") / "rendered"
    write_tree(folder, project().files)
    return config(folder)


def test_the_project_is_called_as_ever(seen: dict[str, Any]) -> None:
    assert seen["name"] == "kmu"
    assert set(seen["services"]) == set(project().containers)


@pytest.mark.parametrize("container", CONTAINERS)
def test_commands_and_checks_arrive_unexpanded(seen: dict[str, Any], container: str) -> None:
    written, read = halved(project().containers[container]), halved(seen["services"][container])
    assert read["healthcheck"]["test"] == written["healthcheck"]["test"]
    command = written.get("command")
    assert read["command"] == ([command] if isinstance(command, str) else command)
    assert {key: str(value) for key, value in written.get("environment", {}).items()}.items() <= read.get(
        "environment", {}
    ).items()
    assert read["labels"] == written["labels"]


def test_environment_files_arrive_as_written(seen: dict[str, Any]) -> None:
    for name, definition in project().containers.items():
        for path in definition.get("env_file", ()):
            assert project().env_file(path).items() <= halved(seen["services"][name]["environment"]).items()


def test_awkward_text_reaches_a_container_unexpanded(tmp_path: Path) -> None:
    """Wherever a fragment puts the company's name: environment, command, label, health check."""
    fragment = """
services:
  homepage:
    environment: {NAME: {{ site.name | tojson }}}
    command: [echo, {{ site.name | tojson }}]
    networks: [proxy]
    labels: {name: {{ site.name | tojson }}}
    healthcheck:
      test: [CMD, echo, {{ site.name | tojson }}]
"""
    files = render(stack(name=AWKWARD_NAME), Recognisable(), {**sources(), "compose/homepage.yml.j2": fragment}).files
    write_tree(tmp_path / "rendered", files)
    read = halved(config(tmp_path / "rendered")["services"]["homepage"])
    assert read["environment"]["NAME"] == AWKWARD_NAME
    assert read["command"] == ["echo", AWKWARD_NAME]
    assert read["labels"]["name"] == AWKWARD_NAME
    assert read["healthcheck"]["test"] == ["CMD", "echo", AWKWARD_NAME]


def test_the_folder_works_alone(seen: dict[str, Any]) -> None:
    """How to leave kmuctl: nothing is read from outside but the state beside it, and the engine's socket."""
    folder = Path(seen["services"]["element"]["volumes"][0]["source"]).parents[1]
    for name, service in seen["services"].items():
        for volume in service.get("volumes", ()):
            source = Path(volume["source"])
            outside = source.is_relative_to(folder) or source.is_relative_to(folder.parent / "data")
            assert outside or name == "dozzle-proxy", f"{name}: {source}"
