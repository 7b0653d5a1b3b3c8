"""`secrets rotate` that is cut off at any change: the next `up` finishes it, and both sides agree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kmuctl.model.step import State, Step
from kmuctl.operations import up as up_
from kmuctl.operations.vault import open_vault
from tests.fakes import FakeHost
from tests.operations.cutting import WAYS, Knife, cut
from tests.operations.scenes import bring, changed, plan, quick_render, running, states
from tests.operations.test_rotation import OWN, PATH, remains, rotate, value
from tests.support import CORE, stack

SITE = f"{CORE}# {{}}".encode()


def fresh_steps(host: FakeHost) -> list[Step]:
    """As a new process sees them: what is done once in each run is still to do."""
    return [*up_.up(stack(), open_vault(stack(), host), SITE)]


def cuts(host: FakeHost, way: str) -> Iterator[tuple[str, FakeHost]]:
    """For each change outside of files; those before it are written then, and those after it are not."""
    undisturbed = Knife()
    cut(fresh_steps(host), host.clone(), undisturbed)
    for number, name in enumerate(undisturbed.made, 1):
        if name != "write":
            twin = host.clone()
            cut(fresh_steps(twin), twin, Knife(number, way))
            yield f"{way} {number} ({name})", twin


@pytest.mark.parametrize("way", WAYS)
def test_a_rotation_that_is_cut_off_anywhere_is_finished_by_the_next_up(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """K31 K56: of all secrets at once. No old value is left anywhere, not even in the secrets file."""
    monkeypatch.setattr(up_, "render", quick_render)
    host = running()
    old = [rotate(host, name) for name in OWN]
    for where, twin in cuts(host, way):
        outcomes = bring(fresh_steps(twin), twin)
        assert not states(outcomes, State.FAILED) | states(outcomes, State.BLOCKED), where
        assert "_PREVIOUS" not in twin.text(PATH), where
        assert [remains(twin, one) for one in old] == [[]] * len(old), where
        assert both_sides(twin) == [], where
        assert changed(plan(twin)) == set(), where


def both_sides(host: FakeHost) -> list[str]:
    """Secrets that a service has, but not as the file says."""
    http = host.http
    held = {
        "postgres_password": host.cluster.superuser,
        **{f"{role}_db_password": password for role, password in host.cluster.roles.items()},
        "authentik_bootstrap_token": http.authentik.token,
        "authentik_bootstrap_password": http.authentik.akadmin,
        "nextcloud_admin_password": http.nextcloud.password,
        "nextcloud_oidc_secret": http.nextcloud.secret,
        "synapse_admin_token": http.synapse.token,
    }
    return [name for name, known in held.items() if known != value(host, name)]
