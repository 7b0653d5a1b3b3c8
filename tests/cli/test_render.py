"""`kmuctl render` in its forms."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from kmuctl.operations.compare import COMMENT_LENGTH
from tests.cli.runner import as_json, kmuctl, program, site_file, written
from tests.golden import golden
from tests.support import CORE


def tree(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def git(*arguments: str) -> None:
    """A repository that knows nothing of this machine's settings."""
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ["-c", "user.name=Max", "-c", "user.email=max@acme.example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True, env=os.environ | quiet)


def repository(more: str = "") -> None:
    """A committed site file, changed afterwards."""
    git("init", "--initial-branch=main")
    site_file()
    git("add", "kmu.toml")
    git("commit", "-m", "site")
    Path("kmu.toml").write_text(CORE.replace("ACME GmbH", "Brandt & Söhne") + more, encoding="utf-8")


def test_the_same_bytes_in_every_process() -> None:
    """K17: no clock, no hash order, no machine in the result."""
    site_file()
    for seed in ("1", "2"):
        assert program("render", "--output", seed, PYTHONHASHSEED=seed, TZ=f"UTC{seed}").returncode == 0
    assert tree("1") == tree("2")
    assert "compose.yaml" in tree("1")


def test_the_second_render_changes_nothing() -> None:
    site_file()
    assert kmuctl("render").stdout.endswith("changed; secrets are placeholders\n")
    before = {path: path.stat().st_mtime_ns for path in Path("rendered").rglob("*")}
    assert ", 0 changed; secrets are placeholders" in kmuctl("render").stdout
    assert {path: path.stat().st_mtime_ns for path in Path("rendered").rglob("*")} == before


def test_secrets_are_placeholders() -> None:
    """U54 K101: nothing that is rendered outside a host can leak."""
    site_file()
    kmuctl("render")
    granted = {path.name: path.read_text() for path in Path("rendered/secrets").rglob("*") if path.is_file()}
    assert granted
    assert all(text == f"<secret:{name}>" for name, text in granted.items())
    assert not Path("secrets.env").exists()


def test_as_json() -> None:
    site_file()
    result = kmuctl("render", "--json")
    import json

    golden("render.json", json.dumps(as_json(result), indent=2) + "\n")


def test_files_of_an_app_that_went_go_too() -> None:
    """U48 U49: a disabled app leaves no trace."""
    site_file()
    kmuctl("render")
    site_file("[apps]\njitsi = false\nnextcloud = false\n")
    kmuctl("render")
    left = [name for name, content in tree("rendered").items() if b"jitsi" in content or b"cloud.acme" in content]
    assert [name for name in tree("rendered") if "jitsi" in name or "nextcloud" in name] == []
    assert left == ["blueprints/20-logins.yaml"]  # which removes their logins from Authentik


def test_check_is_quiet_and_fine_when_nothing_differs() -> None:
    site_file()
    kmuctl("render")
    assert kmuctl("render", "--check").stdout == "no difference\n"


def test_check_ends_with_3_and_shows_the_difference() -> None:
    """CI: is the committed tree the one that the site file gives?"""
    site_file()
    kmuctl("render")
    before = tree("rendered")
    Path("kmu.toml").write_text(CORE.replace("ACME GmbH", "Brandt"), encoding="utf-8")
    text = kmuctl("render", "--check", code=3).stdout
    assert "--- a/element/config.json\n+++ b/element/config.json\n" in text
    assert '+  "brand": "Brandt",' in text
    assert tree("rendered") == before


def test_check_against_nothing_differs() -> None:
    site_file()
    assert "--- /dev/null\n+++ b/compose.yaml\n" in kmuctl("render", "--check", code=3).stdout
    assert written() == ["kmu.toml"]


def test_diff_only_shows() -> None:
    site_file()
    kmuctl("render")
    Path("kmu.toml").write_text(CORE.replace("ACME GmbH", "Brandt"), encoding="utf-8")
    before = tree("rendered")
    assert "+++ b/homepage/site/index.html" in kmuctl("render", "--diff").stdout
    data = as_json(kmuctl("render", "--diff", "--json"))
    assert "homepage/site/index.html" in data["changed"]
    assert tree("rendered") == before


def test_a_folder_with_other_files_is_refused() -> None:
    site_file()
    Path("mine").mkdir()
    Path("mine/letter.odt").write_text("work", encoding="utf-8")
    result = kmuctl("render", "-o", "mine", code=2)
    assert result.stderr.startswith("error: `mine` holds other files")
    assert tree("mine") == {"letter.odt": b"work"}


def test_a_foreign_compose_project_is_refused() -> None:
    site_file()
    Path("mine").mkdir()
    Path("mine/compose.yaml").write_text("services: {}\n", encoding="utf-8")
    assert "holds other files" in kmuctl("render", "-o", "mine", code=2).stderr


def test_the_hosts_own_folder_is_refused() -> None:
    """Placeholders must never replace the real secrets of a running site."""
    site_file()
    Path("secrets.env").write_text("X=1\n", encoding="utf-8")
    kmuctl("render", "-o", "elsewhere/rendered")
    result = kmuctl("render", code=2)
    assert "is where `kmuctl up` keeps the files with the real secrets" in result.stderr
    assert not Path("rendered").exists()


def test_a_file_in_the_place_of_the_folder() -> None:
    site_file()
    assert "`kmu.toml` is a file" in kmuctl("render", "-o", "kmu.toml", code=2).stderr
    assert "cannot write `kmu.toml/x" in kmuctl("render", "-o", "kmu.toml/x", code=2).stderr


def test_an_unknown_format() -> None:
    site_file()
    assert "--format: `html` is unknown" in kmuctl("render", "--format", "html", code=2).stderr


def test_against_a_revision() -> None:
    """U6's ground: what a pull request changes, file by file."""
    repository()
    text = kmuctl("render", "--against", "HEAD").stdout
    assert '-  "brand": "ACME GmbH",\n+  "brand": "Brandt & Söhne",\n' in text
    assert written() == sorted(written())
    assert not Path("rendered").exists()


def test_against_with_check_ends_with_3() -> None:
    repository()
    kmuctl("render", "--against", "HEAD", "--check", code=3)
    git("commit", "-am", "new name")
    assert kmuctl("render", "--against", "HEAD", "--check").stdout == "no difference\n"
    assert "Brandt" in kmuctl("render", "--against", "HEAD~1").stdout


def test_against_from_another_folder() -> None:
    Path("sites").mkdir()
    os.chdir("sites")
    git("init", "--initial-branch=main", "..")
    site_file()
    git("add", ".")
    git("commit", "-m", "site")
    Path("kmu.toml").write_text(CORE.replace("ACME GmbH", "Brandt"), encoding="utf-8")
    os.chdir("..")
    assert "Brandt" in kmuctl("--site", "sites/kmu.toml", "render", "--against", "main").stdout


def test_against_as_markdown() -> None:
    repository()
    text = kmuctl("render", "--against", "HEAD", "--format", "markdown").stdout
    assert text.startswith("**kmuctl**: ")
    assert "<details><summary><code>element/config.json</code> (changed)</summary>\n\n```diff\n" in text
    assert text.count("<details>") == text.count("</details>")


def test_markdown_names_new_and_removed_files() -> None:
    repository("[apps]\njitsi = false\n")
    text = kmuctl("render", "--against", "HEAD", "--format", "markdown").stdout
    assert "<code>jitsi/web.env</code> (removed)" in text
    git("commit", "-am", "without video")
    site_file()
    text = kmuctl("render", "--against", "HEAD", "--format", "markdown").stdout
    assert "<code>jitsi/web.env</code> (new)" in text


def test_markdown_without_a_difference() -> None:
    repository()
    git("commit", "-am", "new name")
    text = kmuctl("render", "--against", "HEAD", "--format", "markdown").stdout
    assert text == "**kmuctl**: no rendered file changes.\n"


@pytest.mark.parametrize("revision", ["nonsense", "--output=x", "HEAD~7"])
def test_an_unknown_revision(revision: str) -> None:
    repository()
    result = kmuctl("render", f"--against={revision}", code=2)
    assert result.stderr.startswith(f"error: git cannot answer: no revision `{revision}`\n")
    assert "`--against` wants a revision" in result.stderr


def test_a_site_file_that_did_not_exist_then() -> None:
    """Everything is new."""
    git("init", "--initial-branch=main")
    git("commit", "--allow-empty", "-m", "nothing")
    site_file()
    assert as_json(kmuctl("render", "--against", "HEAD", "--json"))["changed"][0] == "authentik/bootstrap.env"


@pytest.mark.parametrize("broken", [b"nmae = 1\n", b"[tls\n", b"\xff\n"])
def test_a_site_file_that_was_broken_then(broken: bytes) -> None:
    """The pull request that mends it is shown; everything is new."""
    git("init", "--initial-branch=main")
    Path("kmu.toml").write_bytes(broken)
    git("add", ".")
    git("commit", "-m", "broken")
    site_file()
    result = kmuctl("render", "--against", "HEAD")
    assert result.stderr.startswith("warning: every file counts as new: `HEAD:kmu.toml` is not ")
    assert "--- /dev/null\n+++ b/compose.yaml\n" in result.stdout


def test_a_comment_is_not_longer_than_github_takes() -> None:
    """A whole new site is: whole sections, and what is missing."""
    git("init", "--initial-branch=main")
    git("commit", "--allow-empty", "-m", "nothing")
    site_file()
    assert len(kmuctl("render", "--against", "HEAD").stdout) > COMMENT_LENGTH
    text = kmuctl("render", "--against", "HEAD", "--format", "markdown").stdout
    assert COMMENT_LENGTH / 2 < len(text) <= COMMENT_LENGTH
    assert text.count("<details>") == text.count("</details>") > 5
    rest = re.fullmatch(r"… (\d+) more files?; `kmuctl render --against HEAD` shows all", text.splitlines()[-1])
    assert rest
    head = re.match(r"\*\*kmuctl\*\*: (\d+) ", text)
    assert head
    assert int(head[1]) == text.count("<details>") + int(rest[1])


UNUSED = {
    "a format of nothing": (("--format", "markdown"), "--format: a plain `render` shows no difference"),
    "a folder and a revision": (("-o", "x", "--against", "HEAD"), "--output compares with a folder, --against"),
    "two comparisons": (("--diff", "--against", "HEAD"), "--diff compares with a folder, --against"),
}


@pytest.mark.parametrize(("options", "message"), UNUSED.values(), ids=UNUSED)
def test_no_option_is_ignored(options: tuple[str, ...], message: str) -> None:
    site_file()
    result = kmuctl("render", *options, code=2)
    assert result.stderr.startswith(f"error: {message}")
    assert "hint: " in result.stderr
    assert written() == ["kmu.toml"]


def test_not_in_a_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    site_file()
    assert "not a git repository" in kmuctl("render", "--against", "HEAD", code=2).stderr


def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    site_file()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "git is not installed" in kmuctl("render", "--against", "HEAD", code=2).stderr
