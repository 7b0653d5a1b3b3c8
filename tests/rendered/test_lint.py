"""Every rule of lint.py holds for every site of sites.py, and every rule notices what it is there for.

Rows K2, K5, K17, K19, K32, K83, K85, K103, K111, K112, U5, U28, U34, U52, U54, L2, L19, L21, L22, D35.
"""

from __future__ import annotations

import pytest

from kmuctl.services import CATALOG
from tests.rendered import lint
from tests.rendered.sites import SITES, project


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("rule", lint.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_holds(rule: lint.Rule, site: str) -> None:
    assert list(rule(project(site))) == []


def test_the_core_has_every_container_of_the_catalog() -> None:
    declared = [container.name for service in CATALOG for container in service.containers]
    assert sorted(project().containers) == sorted(declared)
    assert len(declared) == len(set(declared))
