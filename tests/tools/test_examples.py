"""U24: the examples for apps of the company's own are blueprints that Authentik takes, and touch nothing of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kmuctl.services import CATALOG
from tests.support import rendered, stack
from tests.tools.blueprint_lint import Tag, entries, lint, load

FOLDER = Path(__file__).parents[2] / "docs/examples"
EXAMPLES = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.yaml"))}
SAML = EXAMPLES["saml-app.yaml"]
OWN = {path: text for path, text in rendered().items() if path.startswith("blueprints/")}


def findings(name: str, text: str) -> list[str]:
    """Beside our blueprints, which make the groups."""
    site = stack()
    return lint({**OWN, name: text}, site.readable(site["authentik"]))


def objects(text: str) -> dict[str, dict[str, Any]]:
    return {entry["model"]: entry for entry in entries(load(text))}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_valid_blueprint(name: str) -> None:
    assert findings(name, EXAMPLES[name]) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_for_the_companys_people_by_our_flow(name: str) -> None:
    found = objects(EXAMPLES[name])
    binding = found["authentik_policies.policybinding"]
    assert binding["identifiers"]["target"] == Tag("KeyOf", "application")
    assert binding["attrs"] == {"group": Tag("Find", ["authentik_core.group", ["name", "kmu-users"]])}
    [provider] = [entry for model, entry in found.items() if "_providers_" in model]
    flow = ["authentik_flows.flow", ["slug", "default-provider-authorization-implicit-consent"]]
    assert provider["attrs"]["authorization_flow"] == Tag("Find", flow)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_names_nothing_that_is_ours(name: str) -> None:
    """Whatever it names would be put back by the next `up`, or removed with an app that is switched off."""
    of_example = objects(EXAMPLES[name])
    slug = of_example["authentik_core.application"]["identifiers"]["slug"]
    assert slug not in {service.name for service in CATALOG} | {"ldap"}
    ours = {(entry["model"], str(entry.get("identifiers"))) for text in OWN.values() for entry in entries(load(text))}
    mine = {(model, str(entry["identifiers"])) for model, entry in of_example.items()}
    assert mine & ours == set()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_readme_and_the_addresses_in_it_agree(name: str) -> None:
    slug = objects(EXAMPLES[name])["authentik_core.application"]["identifiers"]["slug"]
    assert f"docs/examples/{name}" in (FOLDER.parents[1] / "README.md").read_text()
    assert f"https://auth.acme.example/application/{'saml' if 'saml' in name else 'o'}/{slug}/" in EXAMPLES[name]


@pytest.mark.parametrize(
    ("good", "bad", "finding"),
    [
        ("      acs_url:", "      acs:", "acs_url: Field required"),
        ("sp_binding: post", "sp_binding: artifact", "'artifact' is not one of"),
        ("      sign_assertion: true\n", "", "a key, but nothing to sign"),
        ("      signing_kp:", "      verification_kp:", "signing_kp is missing"),
        ("      property_mappings:", "      mappings:", "property_mappings is empty"),
        ("providers/saml/groups", "providers/saml/group", "not on the list of what exists"),
    ],
)
def test_a_mistake_in_a_saml_provider_is_found(good: str, bad: str, finding: str) -> None:
    assert good in SAML
    found = findings("saml-app.yaml", SAML.replace(good, bad, 1))
    assert any(finding in line for line in found), found
