"""Whatever the company is called: its name arrives in every rendered format as it is."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode

from kmuctl import assets
from kmuctl.model.secrets import Placeholders
from kmuctl.operations import render as render_module
from kmuctl.operations.render import php, render
from tests.fakes import parse_project
from tests.support import AWKWARD_NAME, rendered, stack

PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
NAMES = st.text(PRINTABLE, min_size=1, max_size=60).filter(lambda text: bool(text.strip()))
NASTY = st.text("'\"$#|&{}%\\`<>!*@~:,[]-?\u00e4\U0001f680 n0", min_size=1, max_size=40).filter(
    lambda t: bool(t.strip())
)
FAMILIES = st.lists(st.sampled_from("👨👩👧💻"), min_size=2, max_size=5).map("\u200d".join)
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def sources() -> dict[str, str]:
    """The real templates that hold the name, and containers of which only the start page's says something."""
    named = {path: text for path, text in assets.sources().items() if "site.name" in text or not path.endswith(".j2")}
    bare = {
        f"compose/{service.name}.yml.j2": json.dumps(
            {"services": {container.name: {} for container in service.containers}}
        )
        for service in stack().services
    }
    label = "services: {homepage: {labels: {company: {{ site.name | tojson }}}, command: [{{ site.name | tojson }}]}}"
    return named | bare | {"compose/homepage.yml.j2": label}


@pytest.fixture(autouse=True, scope="module")
def _compiled_once() -> Iterator[None]:
    """The templates stay the same from name to name."""
    environment = render_module._environment
    known = cache(lambda: environment(sources()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            render_module, "_environment", lambda given: known() if given is sources() else environment(given)
        )
        yield


def named(name: str) -> dict[str, str]:
    files = render(stack(name=name), Placeholders(), sources()).files
    return {path: file.content.decode() for path, file in files.items()}


class Loader(YAML):
    """Authentik's own tags are kept as plain values."""

    def __init__(self) -> None:
        super().__init__(typ="safe", pure=True)
        self.constructor.add_multi_constructor("!", lambda loader, suffix, node: _tag(node))


def _tag(node: object) -> str:
    return str(node.value) if isinstance(node, ScalarNode) else ""


def texts(value: Any) -> list[str]:
    """Every text in a document."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else []


def php_strings(source: str) -> list[str]:
    """PHP's single-quoted strings, as PHP reads them: a backslash escapes a quote and itself, nothing else."""
    code = "\n".join(line for line in source.splitlines() if not line.strip().startswith("//"))
    found = re.findall(r"'((?:[^'\\]|\\.)*)'", code, re.DOTALL)
    return [re.sub(r"\\([\\'])", r"\1", text) for text in found]


@SLOW
@given(st.one_of(NAMES, NASTY, st.tuples(NAMES, FAMILIES).map("".join)))
def test_any_printable_name_survives_every_format(name: str) -> None:
    """D55: JSON, YAML, PHP, HTML, and Compose, which must not expand it."""
    files, wanted = named(name), name.strip()
    assert json.loads(files["element/config.json"])["brand"] == wanted
    assert json.loads(files["panel/panel.json"])["name"] == wanted
    assert YAML(typ="safe").load(files["synapse/homeserver.yaml"])["oidc_providers"][0]["idp_name"] == wanted
    assert wanted in php_strings(files["nextcloud/config/zz-kmu.config.php"])
    title = re.search(r"<title>(.*)</title>", files["homepage/site/index.html"])
    assert title
    assert html.unescape(title[1]) == wanted
    plan = [json.loads(line) for line in files["stalwart/plan.ndjson"].splitlines()]
    assert wanted in texts(plan)
    assert wanted in texts(Loader().load(files["blueprints/10-base.yaml"]))
    homepage = parse_project(files["compose.yaml"])["services"]["homepage"]
    assert (homepage["labels"]["company"], homepage["command"]) == (wanted, [wanted])


@given(NAMES)
def test_php_literals(name: str) -> None:
    assert php_strings(php(name)) == [name]


@given(NASTY)
def test_php_literals_of_nasty_names(name: str) -> None:
    assert php_strings(php(name)) == [name]


@pytest.mark.parametrize(
    "name", [AWKWARD_NAME, "${HOME} $$ $(id)", "{{ 7*7 }} {% raw %} {# x #}", "<b>&amp;</b>", "!Env X"]
)
def test_awkward_names_leave_the_rest_of_the_tree_alone(name: str) -> None:
    """K111: same files, no template or shell ran, and the project does not hold the name at all."""
    files, plain = rendered(name=name), rendered()
    assert files.keys() == plain.keys()
    assert not any("49 '" in text and "7*7" not in text for text in files.values())
    changed = {path for path in files if files[path] != plain[path]} - {"compose.yaml"}
    assert changed == {path for path in plain if "ACME GmbH" in plain[path]}
    parse_project(files["compose.yaml"])


def test_awkward_people_survive_too() -> None:
    """K35 K102."""
    admin = {"username": "mm", "name": AWKWARD_NAME, "email": "max@acme.example"}
    files = rendered(admin=admin)
    known = [path for path, text in files.items() if path.startswith("blueprints/") and AWKWARD_NAME in _all(text)]
    assert known


def _all(text: str) -> list[str]:
    return texts(Loader().load(text))
