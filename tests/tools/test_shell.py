"""Every shell script and shell line that we render, read by shellcheck (scripts/lint reads those that we ship)."""

from __future__ import annotations

import pytest

from tests.rendered.sites import CONTAINERS, project
from tests.tools.programs import run

pytestmark = pytest.mark.tool


def test_rendered_scripts_are_sound() -> None:
    scripts = [file.content.decode() for path, file in project().files.items() if path.endswith(".sh")]
    assert scripts
    for script in scripts:
        run("shellcheck", "-", stdin=script)


@pytest.mark.parametrize("container", CONTAINERS)
def test_shell_lines_in_the_fragments_are_sound(container: str) -> None:
    definition = project().containers[container]
    lines = [definition["healthcheck"]["test"][1]] if definition["healthcheck"]["test"][0] == "CMD-SHELL" else []
    command = definition.get("command")
    if isinstance(command, list) and command[:2] == ["sh", "-c"]:
        lines.append(command[2])
    for line in lines:
        run("shellcheck", "--shell=sh", "-", stdin=line.replace("$$", "$") + "\n")
