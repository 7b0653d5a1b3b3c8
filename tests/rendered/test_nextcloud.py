"""Nextcloud: the variables its image reads (upstream/nextcloud.md 1.3), and a configuration that the image accepts.

Rows K9, K41, K52, K54, K68, U51.
"""

from __future__ import annotations

import re
from itertools import product
from string import ascii_lowercase

import pytest
from jinja2 import Environment, StrictUndefined

from kmuctl.assets import sources
from tests.rendered.sites import IDN_ASCII, having, known, project, secret_value
from tests.support import stack

WITH_FILE = known("nextcloud-env-or-file")
PLAIN = known("nextcloud-env")
WITH_NEXTCLOUD = having("nextcloud")
PASSWORD = secret_value("nextcloud_valkey_password").encode()


def environment(container: str = "nextcloud") -> dict[str, str]:
    found: dict[str, str] = project().containers[container]["environment"]
    return found


def php(site: str = "core") -> str:
    return project(site).text("nextcloud/config/zz-kmu.config.php")


@pytest.mark.parametrize("container", ["nextcloud", "nextcloud-cron"])
def test_the_image_reads_every_variable(container: str) -> None:
    known = WITH_FILE | PLAIN | {f"{name}_FILE" for name in WITH_FILE}
    assert set(environment(container)) - known == set()


@pytest.mark.parametrize("container", ["nextcloud", "nextcloud-cron"])
def test_no_value_is_given_twice(container: str) -> None:
    """The image stops when both NAME and NAME_FILE are set; an empty one counts as set."""
    found = environment(container)
    assert [name for name in found if f"{name}_FILE" in found] == []
    assert [name for name, value in found.items() if value == ""] == []


def test_cron_runs_with_the_same_eyes() -> None:
    """But it installs nothing: the local admin's password is not its own to know."""
    admin = {"NEXTCLOUD_ADMIN_USER", "NEXTCLOUD_ADMIN_PASSWORD_FILE"}
    assert environment().items() - environment("nextcloud-cron").items() == {
        (name, environment()[name]) for name in admin
    }
    assert project().secrets("nextcloud") - project().secrets("nextcloud-cron") == {"nextcloud_admin_password"}
    images = {project().containers[name]["image"] for name in ("nextcloud", "nextcloud-cron")}
    assert images == {"nextcloud:34.0.4-apache"}
    html = ("../data/nextcloud/html", "/var/www/html", "rw")
    assert html in project().mounts("nextcloud")
    assert html in project().mounts("nextcloud-cron")


@pytest.mark.parametrize("site", WITH_NEXTCLOUD)
def test_a_cache_is_one_apps_own(site: str) -> None:
    """U22: Valkey, on a network that only its app is on, and with a password that only its app has."""
    present = project(site)
    caches = {name for name, item in present.containers.items() if re.search("valkey|redis|keydb", item["image"])}
    assert caches == {"nextcloud-valkey"}
    assert set(present.containers["nextcloud-valkey"]["networks"]) == {"nextcloud"}
    assert {present.owner(name).name for name in present.members("nextcloud")} == {"nextcloud"}
    holding = [path for path, file in present.files.items() if PASSWORD in file.content]
    assert {path.split("/")[1] for path in holding} == {"nextcloud", "nextcloud-cron", "nextcloud-valkey"}


def test_jobs_run_at_once_without_root_and_are_not_cut_short() -> None:
    jobs = project().containers["nextcloud-cron"]
    assert jobs["user"] == "33:33"
    assert "cap_add" not in jobs
    assert re.search(r"do php -f /var/www/html/cron\.php &", jobs["entrypoint"][2])
    assert (jobs["stop_signal"], jobs["stop_grace_period"]) == ("SIGTERM", "60s")


@pytest.mark.parametrize("container", ["nextcloud", "nextcloud-cron"])
def test_nothing_is_mounted_into_the_code(container: str) -> None:
    """One file in its config folder before the first start, and the image would skip its own configuration."""
    below = [target for _, target, _ in project().mounts(container) if target.startswith("/var/www/html/")]
    assert below == []


def test_the_hooks_are_scripts_that_the_image_runs() -> None:
    hooks = {target: source for source, target, _ in project().mounts("nextcloud") if "entrypoint-hooks" in target}
    folders = sorted(target.split("/")[2] for target in hooks)
    assert folders == ["before-starting", "before-starting", "pre-installation"]
    names = {target.rsplit("/", 1)[1] for target in hooks}
    assert names == {"install-config.sh", "10-install-config.sh", "20-finish.sh"}
    for target, source in hooks.items():
        file = project().files[source.removeprefix("./")]
        assert target.endswith(".sh")
        assert file.mode == 0o755
        assert file.content.startswith(b"#!/bin/sh\n")


def test_the_folder_belongs_to_the_web_server() -> None:
    """K41."""
    assert {data.uid for data in project().stack["nextcloud"].data} == {33}


@pytest.mark.parametrize("site", WITH_NEXTCLOUD)
def test_the_address_is_known(site: str) -> None:
    """K52, U51: the public name, the internal one, HTTPS, and trust in Caddy's network alone."""
    cloud, subnet = project(site).stack.site.fqdn("cloud"), project(site).stack.subnet("proxy")
    for line in (
        f"'trusted_domains' => array('{cloud}', 'nextcloud'),",
        f"'overwritehost' => '{cloud}',",
        "'overwriteprotocol' => 'https',",
        f"'overwrite.cli.url' => 'https://{cloud}',",
        f"'trusted_proxies' => array('{subnet}'),",
    ):
        assert line in php(site)


def test_the_umlaut_domain_is_in_ascii() -> None:
    assert f"'cloud.{IDN_ASCII}'" in php("umlaut domain")


def test_the_sites_language() -> None:
    """K54."""
    assert "'default_language' => 'de'" in php()
    assert "'default_language' => 'en'" in php("English")
    assert "'default_phone_region' => 'DE'" in php()
    assert "'default_phone_region' => 'GB'" in php("English")


def test_no_language_is_without_a_phone_region() -> None:
    """The whole tree in one language that no table knows is a site of its own; here the one table that has no end."""
    source = sources()["templates/nextcloud/config/zz-kmu.config.php.j2"]
    expression = re.search(r"'default_phone_region' => {{ (.+) \| php }}", source)
    assert expression
    region = Environment(undefined=StrictUndefined, autoescape=True).compile_expression(expression[1])
    for first, second in product(ascii_lowercase, repeat=2):
        assert re.fullmatch("[A-Z]{2}", str(region(site=stack(language=first + second).site)))


def test_nobody_becomes_the_local_admin() -> None:
    """An OpenID login with the admin's name would otherwise sign in as that admin."""
    assert "'soft_auto_provision' => false" in php()
    assert environment()["NEXTCLOUD_ADMIN_USER"] == "kmu-break-glass"


def test_mail_leaves_through_the_name_on_the_certificate() -> None:
    """K50."""
    assert "'mail_smtphost' => 'mail.acme.example'" in php()
    assert project().containers["stalwart"]["networks"]["mail"]["aliases"] == ["mail.acme.example"]
    assert not re.search(r"'mail_", php("without stalwart"))


def test_the_configuration_can_always_be_written() -> None:
    """Read-only would break maintenance mode, and with it backups."""
    assert "config_is_read_only" not in php()
