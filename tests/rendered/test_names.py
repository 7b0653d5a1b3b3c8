"""A company's name may hold anything: it survives every format that it is written into (K13, K102, D37, D55)."""

from __future__ import annotations

import html
import json
import re

import pytest
from ruamel.yaml import YAML

from tests.rendered.sites import IDN, IDN_ASCII, SITES, Project, project
from tests.support import AWKWARD_NAME, CORE

AWKWARD = ("awkward names", "small")
# The fast readers; PHP and Compose read theirs in tests/tools.
ELSEWHERE = {"nextcloud/config/zz-kmu.config.php"}


def in_element(present: Project) -> str:
    return str(json.loads(present.text("element/config.json"))["brand"])


def in_panel(present: Project) -> str:
    return str(json.loads(present.text("panel/panel.json"))["name"])


def in_synapse(present: Project) -> str:
    return str(YAML(typ="safe").load(present.text("synapse/homeserver.yaml"))["oidc_providers"][0]["idp_name"])


def in_title(present: Project) -> str:
    return _between(present, "<title>", "</title>")


def in_heading(present: Project) -> str:
    return _between(present, "<h1>", "</h1>")


def _between(present: Project, start: str, end: str) -> str:
    page = present.text("homepage/site/index.html")
    found = re.findall(f"{start}(.*?){end}", page, re.DOTALL)
    assert len(found) == 1
    assert "<" not in found[0]
    return html.unescape(str(found[0]))


@pytest.mark.parametrize("site", AWKWARD)
@pytest.mark.parametrize("reader", [in_element, in_panel, in_synapse, in_title, in_heading])
def test_the_name_comes_back_as_it_was(reader: object, site: str) -> None:
    assert callable(reader)
    assert reader(project(site)) == AWKWARD_NAME


def test_stalwart_gets_the_name_unharmed() -> None:
    objects = [json.loads(line) for line in project("awkward names").text("stalwart/plan.ndjson").splitlines()]
    domain = next(entry["value"]["domain"] for entry in objects if entry["object"] == "Domain")
    assert domain["description"] == AWKWARD_NAME


def test_names_stay_out_of_the_files_that_could_not_quote_them() -> None:
    """Environment files, Caddy's and coturn's configuration have no safe way to write free text."""
    for path, file in project("awkward names").files.items():
        if path.endswith((".env", "Caddyfile", ".conf", ".sh", "pgpass", ".css")):
            assert "Müller" not in file.content.decode(), path


def test_every_other_file_with_a_name_is_read_here_or_elsewhere() -> None:
    holding = {path for path, file in project("awkward names").files.items() if "Müller" in file.content.decode()}
    structured = {"element/config.json", "panel/panel.json", "stalwart/plan.ndjson"}
    structured |= {"synapse/homeserver.yaml", "synapse/mail.yaml"}
    pages = {"homepage/site/index.html", "authentik/mail/kmu_recovery.html", "authentik/mail/kmu_recovery.txt"}
    blueprints = {path for path in holding if path.startswith("blueprints/")}
    assert holding - blueprints == structured | pages | ELSEWHERE


@pytest.mark.parametrize("site", ["umlaut domain", "small"])
def test_machines_get_the_ascii_form_and_people_read_the_umlauts(site: str) -> None:
    for path, file in project(site).files.items():
        if path not in ("homepage/site/index.html", "panel/panel.json"):
            assert IDN not in file.content.decode(), path
    assert f"<p>{IDN}</p>" in project(site).text("homepage/site/index.html")
    assert json.loads(project(site).text("panel/panel.json"))["domain"] == IDN
    assert f"https://cloud.{IDN_ASCII}/" in project(site).text("homepage/site/index.html")


@pytest.mark.parametrize("site", SITES)
def test_the_start_page_lists_what_people_can_open(site: str) -> None:
    """K13, K91, D37: the enabled apps, each once, in the site's language."""
    page = html.unescape(project(site).text("homepage/site/index.html"))
    for app in project(site).stack.apps():
        assert page.count(f'href="{app["url"]}"') == 1, app
        assert str(app["text"]) in page
    german = project(site).stack.site.language == "de"
    assert f'<html lang="{"de" if german else "en"}">' in page


def test_the_domain_of_the_core_site_is_found_in_nothing_but_its_own() -> None:
    """Another domain leaves nothing of the first one behind: every name is derived."""
    assert 'domain = "acme.example"' in CORE
    left = {path for path, file in project("umlaut domain").files.items() if "acme.example" in file.content.decode()}
    assert left <= {path for path, file in project().files.items() if "max@acme.example" in file.content.decode()}
