"""Stalwart's own command-line tool, which has an image of its own (upstream/stalwart.md 2)."""

from __future__ import annotations

from collections.abc import Iterable

from kmuctl.model.stack import Stack
from kmuctl.operations.stalwart.registry import CONTAINER, PORT

NAME = "stalwart-cli"
IMAGE = "stalwartlabs/cli:1.0.8"
"""The newest whose sources could be read; it has no shell, and knows `apply` without `upsert`."""
TOKEN = "STALWART_TOKEN"  # noqa: S105 (the name of a variable)


def command(stack: Stack, arguments: Iterable[str], *, terminal: bool) -> tuple[str, ...]:
    """Runs the tool beside Stalwart; the key comes by the environment, which no list of processes shows."""
    image = stack.site.images.get(NAME, IMAGE)
    return (
        "docker", "run", "--rm", "--interactive", *(["--tty"] if terminal else []),
        "--network", f"{stack.project}_mail", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--env", f"STALWART_URL=http://{CONTAINER}:{PORT}", "--env", TOKEN, image, *arguments,
    )  # fmt: skip
