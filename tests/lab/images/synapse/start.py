#!/usr/local/bin/python
"""Starts Synapse the way upstream's image does in its `run` mode, the only one that kmuctl uses."""

import os
import sys
from pathlib import Path


def drop_root() -> None:
    group, user = int(os.environ.get("GID", "991")), int(os.environ.get("UID", "991"))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    os.environ["HOME"] = "/"


def config_path() -> str:
    folder = os.environ.get("SYNAPSE_CONFIG_DIR", "/data")
    path = os.environ.get("SYNAPSE_CONFIG_PATH", f"{folder}/homeserver.yaml")
    if not Path(path).exists():
        sys.exit(
            f"Config file '{path}' does not exist. You should either create a new config file, or "
            "specify the path to an existing one with the SYNAPSE_CONFIG_PATH variable."
        )
    return path


def synapse_arguments(arguments: list[str]) -> list[str]:
    if "-m" not in arguments:
        arguments = ["-m", os.environ.get("SYNAPSE_WORKER", "synapse.app.homeserver"), *arguments]
    if not any(argument.startswith(("--config-path", "-c")) for argument in arguments):
        arguments += ["--config-path", config_path()]
    return arguments


def main() -> None:
    mode, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("run", [])
    if mode != "run":
        sys.exit(f"The lab's image knows the mode 'run' only, not '{mode}'")
    arguments = synapse_arguments(rest)
    print("Starting synapse with args", *arguments, flush=True)
    if os.getuid() == 0:
        drop_root()
    os.execv(sys.executable, [sys.executable, *arguments])


main()
