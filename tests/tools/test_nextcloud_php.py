"""Nextcloud's rendered configuration in real PHP: it parses, and every text comes out as it went in (K52)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.rendered.sites import having, project, secret_value
from tests.support import AWKWARD_NAME
from tests.tools.programs import run

pytestmark = pytest.mark.tool
PATH = "nextcloud/config/zz-kmu.config.php"
WITH_NEXTCLOUD = having("nextcloud")


def evaluated(site: str, folder: Path) -> dict[str, Any]:
    """`$CONFIG` as PHP sees it, with the secrets' paths led to files of ours."""
    outgoing = project(site).stack.outgoing
    for name in ("nextcloud_db_password", *([outgoing.secret] if outgoing else [])):
        (folder / name).write_text(secret_value(name) + "\n")
    file = folder / "zz-kmu.config.php"
    file.write_text(project(site).text(PATH).replace("/run/secrets", str(folder)))
    shown = run(
        "php",
        "-d",
        "error_reporting=-1",
        "-d",
        "display_errors=1",
        "-r",
        f"require '{file}'; echo json_encode($CONFIG);",
    )
    loaded: dict[str, Any] = json.loads(shown)
    return loaded


@pytest.mark.parametrize("site", WITH_NEXTCLOUD)
def test_php_reads_the_file(site: str, tmp_path: Path) -> None:
    config = evaluated(site, tmp_path)
    here = project(site).stack.site
    assert config["user_oidc"]["login_label"] == here.name
    assert config["overwritehost"] == here.fqdn("cloud")
    assert config["trusted_domains"] == [here.fqdn("cloud"), "nextcloud"]
    assert config["dbpassword"] == secret_value("nextcloud_db_password")


def test_an_awkward_name_survives(tmp_path: Path) -> None:
    assert evaluated("awkward names", tmp_path)["user_oidc"]["login_label"] == AWKWARD_NAME


def test_nothing_is_printed_beside_the_configuration() -> None:
    """One byte before `<?php` or after it would break every answer of Nextcloud."""
    text = project().text(PATH)
    assert text.startswith("<?php\n")
    assert "?>" not in text
