"""The site file changes, the running stack follows."""

from __future__ import annotations

import httpx
import pytest

from tests.lab.stack import LabSite, containers, ids
from tests.lab.test_drift import changed

pytestmark = pytest.mark.lab


def test_a_further_page_comes_by_reload(site: LabSite) -> None:
    """U50, D52: Caddy keeps running, the new name has a certificate and answers; without it, it is gone."""
    before = ids()
    with site.edited("sites", wiki={"upstream": "homepage:8080", "login": False}):
        steps = {step["step"] for step in site.up()["steps"]}
        assert {"files:caddy", "caddy:config"} <= steps
        assert (site.get("wiki").status_code, site.stack.site.name in site.get("wiki").text) == (200, True)
        assert "caddy" not in changed(before)
    site.up()
    with pytest.raises(httpx.ConnectError):
        site.get("wiki")
    assert "caddy" not in changed(before)


def test_an_app_that_is_switched_off_leaves_nothing_but_its_data(site: LabSite) -> None:
    """U30, U48, K112: containers, files and names go, the data folder stays; switched on again all is back."""
    data, parts = site.folder / "data/jitsi/prosody", {c.name for c in site.stack["jitsi"].containers}
    kept = sorted(path.name for path in data.iterdir())
    with site.edited("apps", jitsi=False):
        site.up()
        assert not parts & containers(everything=True).keys()
        assert not [path for path in site.rendered.rglob("*jitsi*/**/*") if path.is_file()]
        assert sorted(path.name for path in data.iterdir()) == kept
        with pytest.raises(httpx.ConnectError):
            site.get("meet")
        assert site.url("meet") not in site.get("").text
        assert "io.element.jitsi" not in site.get("", "/.well-known/matrix/client").text
        assert site.plan() == {}
    site.up()
    assert site.get("meet").status_code == 200
    assert site.plan() == {}
