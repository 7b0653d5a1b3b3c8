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
    kind, *check = definition["healthcheck"]["test"]
    asked = ["sh", "-c", *check] if kind == "CMD-SHELL" else check
    for words in (asked, definition.get("command"), definition.get("entrypoint")):
        if isinstance(words, list) and words[1:2] == ["-c"] and words[0] in ("sh", "bash"):
            run("shellcheck", f"--shell={words[0]}", "-", stdin=words[2].replace("$$", "$") + "\n")
