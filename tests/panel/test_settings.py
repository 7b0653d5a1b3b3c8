"""The panel's settings: strict, all problems at once, and what kmuctl renders is accepted."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kmuctl.panel import __main__ as program
from kmuctl.panel.settings import SettingsError, load
from tests.panel.support import APP, environment
from tests.support import AWKWARD_NAME, rendered


def test_accepts_what_is_rendered(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    (tmp_path / "panel.json").write_text(rendered(name=AWKWARD_NAME)["panel/panel.json"], encoding="utf-8")
    settings = load(variables)
    assert settings.name == AWKWARD_NAME
    assert settings.people == "https://auth.acme.example/if/admin/#/identity/users"
    assert "panel" in {app.name for app in settings.apps}


def test_names_all_problems_at_once(tmp_path: Path) -> None:
    apps = [APP | {"url": "javascript:alert(1)", "admins": "yes"}, "x"]
    with pytest.raises(SettingsError) as caught:
        load(environment(tmp_path, color="red; }", typo=1, name=None, authentik="ftp://x", apps=apps))
    assert str(caught.value).splitlines()[1:] == [
        "  typo: unknown",
        "  name: must be text",
        "  color: must be a color like `#2a6f97`",
        "  authentik: must be an http or https address",
        "  apps.0.url: must be an http or https address",
        "  apps.0.admins: must be true or false",
        "  apps.1: must be an object",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "must be an object"),
        (b"{}", "apps: must be a list"),
        (b"{}", "domain: must be text, but is missing"),
        (None, "No such file"),
    ],
)
def test_does_not_start_with_a_broken_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    variables = environment(tmp_path)
    (tmp_path / "panel.json").unlink()
    if content is not None:
        (tmp_path / "panel.json").write_bytes(content)
    assert program.main(variables) == 2
    assert message in capsys.readouterr().err


def test_does_not_start_without_its_variables(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main({"KMU_SITE": ""}) == 2
    assert "KMU_SITE, KMU_SESSION_SECRET_FILE" in capsys.readouterr().err


def access(path: str, status: int) -> logging.LogRecord:
    arguments = ("172.20.0.2:1", "GET", path, "1.1", status)
    return logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)


def test_the_access_log_has_no_query_strings() -> None:
    record = access("/?token=secret", 200)
    assert program.Discreet().filter(record)
    assert record.getMessage() == '172.20.0.2:1 - "GET / HTTP/1.1" 200'


def test_the_access_log_shows_only_failed_health_checks() -> None:
    assert not program.Discreet().filter(access("/healthz", 200))
    assert program.Discreet().filter(access("/healthz", 503))
