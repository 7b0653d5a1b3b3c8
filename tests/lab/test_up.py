"""`kmuctl up` on an empty machine, and a second time."""

from __future__ import annotations

import pytest

from tests.lab.stack import LabSite, containers, docker, ids, report, run

pytestmark = pytest.mark.lab


def test_every_container_is_healthy(site: LabSite) -> None:
    """K1, K17, K43, K85: one command, one project, and each container's own check says yes."""
    states = {name: item["State"]["Health"]["Status"] for name, item in containers(everything=True).items()}
    assert states == {container.name: "healthy" for container in site.stack.containers()}


def test_the_second_up_changes_nothing(site: LabSite) -> None:
    """K56: the same command again says that nothing changed, and nothing did."""
    before = ids()
    again = site.up()
    print(f"up with nothing to do: {again['seconds']} s")
    assert {state: count for state, count in again["counts"].items() if count} == {"ok": again["counts"]["ok"]}
    assert again["steps"] == []
    assert ids() == before
    assert "nothing changed" in site.kmuctl("up").stdout


def test_the_plan_of_a_finished_site_is_empty(site: LabSite) -> None:
    """K56: --dry-run has nothing to say, --exit-code agrees."""
    done = site.kmuctl("--json", "up", "--dry-run", "--exit-code")
    assert report(done)["changes"] == 0


def test_compose_alone_sees_the_same_stack(site: LabSite) -> None:
    """K17, K111: the rendered folder is a valid Compose project, and Compose has nothing to do either."""
    before = ids()
    valid = run("docker", "compose", "config", "--quiet", folder=site.rendered)
    assert (valid.returncode, valid.stderr) == (0, "")
    up = run("docker", "compose", "up", "--detach", folder=site.rendered)
    assert up.returncode == 0, up.stderr
    assert ids() == before


def test_the_panel_runs_as_it_is_in_this_project(site: LabSite) -> None:
    """Its image is built here, from the sources that kmuctl carries, and labelled with them."""
    from kmuctl.panel import image

    panel = site.stack["panel"].containers[0].image
    label = docker("image", "inspect", panel, "--format", '{{index .Config.Labels "kmuctl.source"}}').strip()
    assert label == image.digest()
