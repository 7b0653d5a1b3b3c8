"""What goes wrong by hand is named by the plan, and mended by `up`: exactly that, and nothing else is touched."""

from __future__ import annotations

import psycopg
import pytest

from tests.lab.stack import LabSite, docker, health, ids, inside, name_of
from tests.lab.test_database import connect

pytestmark = pytest.mark.lab


def changed(before: dict[str, str]) -> set[str]:
    """Containers made anew or restarted since."""
    return {name for name, seen in ids().items() if seen != before.get(name)}


def mended(site: LabSite) -> set[str]:
    return {step["step"] for step in site.up()["steps"]}


def test_a_stopped_container_is_started(site: LabSite) -> None:
    """K56, D35."""
    before = ids()
    docker("stop", name_of("homepage"))
    assert set(site.plan()) == {"container:homepage"}
    assert mended(site) == {"container:homepage"}
    assert (changed(before), health("homepage")) == ({"homepage"}, "healthy")


def test_a_removed_container_is_made_anew(site: LabSite) -> None:
    """K56."""
    before = ids()
    docker("rm", "--force", name_of("element"))
    assert site.plan() == {"container:element": "to create"}
    assert mended(site) == {"container:element"}
    assert (changed(before), health("element")) == ({"element"}, "healthy")


def test_a_page_edited_by_hand_is_written_again(site: LabSite) -> None:
    """K56: no container reads it but at the next request, so none is restarted."""
    before, page = ids(), site.rendered / "homepage/site/index.html"
    page.write_text("edited by hand")
    assert set(site.plan()) == {"files:homepage"}
    assert mended(site) == {"files:homepage"}
    assert site.stack.site.name in site.get("").text
    assert changed(before) == set()


def test_a_configuration_edited_by_hand_is_right_inside_the_container_again(site: LabSite) -> None:
    """K56: a file that is mounted by itself stays the old one in a container until that is started again."""
    before, config = ids(), site.rendered / "element/config.json"
    config.write_text(config.read_text().replace("matrix.", "evil."))
    assert set(site.plan()) == {"files:element", "container:element"}
    assert mended(site) == {"files:element", "container:element"}
    assert "evil." not in inside("element", "cat", "/app/config.json").stdout
    assert "evil." not in site.get("element", "/config.json").text
    assert changed(before) == {"element"}


def test_a_secret_that_others_could_read_is_shut_again(site: LabSite) -> None:
    """K31: the mode alone is a reason."""
    before, secret = ids(), site.rendered / "secrets/postgres/postgres_password"
    secret.chmod(0o644)
    assert set(site.plan()) == {"files:postgres"}
    assert mended(site) == {"files:postgres"}
    assert secret.stat().st_mode & 0o777 == 0o600
    assert changed(before) == set()


def test_a_foreign_file_among_the_rendered_ones_goes(site: LabSite) -> None:
    """U48: the folder holds what is rendered and nothing else."""
    foreign = site.rendered / "caddy/Caddyfile.bak"
    foreign.write_text("old")
    assert set(site.plan()) == {"files:stale"}
    assert mended(site) == {"files:stale"}
    assert not foreign.exists()


def test_a_lost_role_password_is_set_again(site: LabSite) -> None:
    """K5, K103: the secrets file is right, PostgreSQL follows."""
    before, secrets = ids(), site.secrets()
    with connect("postgres", "postgres", secrets["postgres_password"]) as superuser:
        superuser.execute("ALTER ROLE nextcloud PASSWORD NULL")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect("nextcloud", "nextcloud", secrets["nextcloud_db_password"])
    assert "database:nextcloud" in site.plan()
    assert mended(site) <= {"database:nextcloud", "container:nextcloud", "container:nextcloud-cron"}
    connect("nextcloud", "nextcloud", secrets["nextcloud_db_password"]).close()
    assert changed(before) <= {"nextcloud", "nextcloud-cron"}


def test_a_running_caddy_with_another_configuration_is_reloaded(site: LabSite) -> None:
    """K2: what counts is what it serves, not what the file says."""
    before = ids()
    load = "curl -fsS --unix-socket /run/caddy-admin.sock -X POST -H 'Content-Type: text/caddyfile' " \
        "--data-binary 'http://:9180 { \n respond /healthz 200 \n }' http://localhost/load"  # fmt: skip
    # the admin socket goes with the old configuration, so it is named in the new one
    load = load.replace("'http://:9180", "'{ \n admin unix//run/caddy-admin.sock \n } \n http://:9180")
    done = inside("caddy", "sh", "-c", load)
    assert done.returncode == 0, done.stderr
    assert set(site.plan()) == {"caddy:config", "synapse:reachable", "sign-on:nextcloud", "sign-on:synapse"}
    assert mended(site) == {"caddy:config"}
    assert (site.get("").status_code, changed(before)) == (200, set())
