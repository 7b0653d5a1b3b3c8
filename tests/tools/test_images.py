"""Rendered files in the programs of the lab's images: Synapse, coturn and Valkey are the real ones there.

Rows K7, K11, K33, K34, K109.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from kmuctl.model.secrets import Secret, signing_key
from kmuctl.operations.render import File, render
from tests.rendered.sites import SITES, Project, Recognisable, known, secret_value
from tests.support import stack
from tests.tools.programs import program, run, write_tree

pytestmark = [pytest.mark.tool, pytest.mark.lab]


class Usable(Recognisable):
    """Recognisable, but for the one value that has a form of its own."""

    def __getitem__(self, name: str) -> Secret:
        return Secret(signing_key()) if name == "synapse_signing_key" else super().__getitem__(name)


def usable(site: str) -> Project:
    present = stack(**SITES[site])
    return Project(present, render(present, Usable()).files)


def image(container: str) -> str:
    """The pinned image, which must be here already."""
    name = usable("core").declared(container).image
    if subprocess.run([program("docker"), "image", "inspect", name], capture_output=True, check=False).returncode:
        pytest.fail(f"the image {name} is missing: `tests/lab/lab images` builds it", pytrace=False)
    return name


def write_owned(folder: Path, files: dict[str, File]) -> None:
    """As on a host: modes and owners included, so that a file nobody can read is noticed."""
    write_tree(folder, files)
    for path, file in files.items():
        os.chown(folder / path, file.uid, file.uid)


def started(container: str, present: Project, folder: Path, entrypoint: str, *arguments: str) -> str:
    """What a program of the image prints with the container's user, mounts and secrets; it must not need a network."""
    write_owned(folder, present.files)
    definition = present.containers[container]
    volumes = [
        f"{folder / source}:{target}:ro" for source, target, _ in present.mounts(container) if source[0:2] == "./"
    ]
    volumes += [f"{folder}/secrets/{container}/{name}:/run/secrets/{name}:ro" for name in present.secrets(container)]
    options = [option for volume in volumes for option in ("--volume", volume)]
    user = [
        "--user",
        str(definition["user"]),
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/media",
    ]
    hard = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    hard += [f"--cap-add={capability}" for capability in definition.get("cap_add", ())]
    name = image(container)
    return run("docker", "run", "--rm", *user, *hard, *options, "--entrypoint", entrypoint, name, *arguments)


@pytest.mark.parametrize("site", ["core", "small", "awkward names", "without element"])
def test_synapse_accepts_its_configuration(site: str, tmp_path: Path) -> None:
    said = started(
        "synapse", usable(site), tmp_path, "python3", "-m", "synapse.config", "-c", "/config/homeserver.yaml"
    )
    assert "Config parses OK!" in said


TURNSERVER = ("-c", "timeout -s KILL 2 turnserver -c /etc/coturn/turnserver.conf 2>&1; true")


@pytest.mark.parametrize("site", ["core", "no public address"])
def test_coturn_knows_every_line(site: str, tmp_path: Path) -> None:
    """It runs on with what it does not understand, and says so in its log alone."""
    said = started("coturn", usable(site), tmp_path, "sh", *TURNSERVER)
    assert "Bad configuration" not in said
    assert "Default realm: turn.acme.example" in said
    assert {line.rpartition("listing: ")[2] for line in said.splitlines() if "listing: " in line} >= known(
        "coturn-denied-peers"
    )
    assert secret_value("turn_secret") not in said


def test_coturn_would_complain(tmp_path: Path) -> None:
    present = usable("core")
    file = present.files["coturn/turnserver.conf"]
    present.files["coturn/turnserver.conf"] = File(file.content + b"no-loopback-peers\n", "coturn", file.mode, file.uid)
    assert "Bad configuration" in started("coturn", present, tmp_path, "sh", *TURNSERVER)


def test_valkey_asks_for_the_password_and_hides_it(tmp_path: Path) -> None:
    """The fragment's own command and health check; the password stands in no process list."""
    definition = usable("core").containers["nextcloud-valkey"]
    command, check = (
        line.replace("$$", "$") for line in (definition["command"][2], definition["healthcheck"]["test"][1])
    )
    script = f"({command}) >/tmp/log 2>&1 & sleep 1; {check} && valkey-cli ping; tr '\\0' ' ' </proc/$!/cmdline"
    said = started("nextcloud-valkey", usable("core"), tmp_path, "sh", "-c", script)
    assert re.search(r"^NOAUTH", said, re.MULTILINE)
    assert "valkey-server" in said
    assert secret_value("nextcloud_valkey_password") not in said
