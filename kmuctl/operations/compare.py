"""Rendered trees: write one to a folder, compare one with a folder or with that of another revision."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from kmuctl.model.errors import ConfigError
from kmuctl.model.secrets import Placeholders
from kmuctl.model.site import read_site
from kmuctl.operations import compose
from kmuctl.operations.render import OWN, render
from kmuctl.services import NAMES, stack_of

Tree = Mapping[str, str]
COMMENT_LENGTH = 65_536
"""Characters: GitHub refuses longer comments. Forgejo and GitLab take more."""
COMMIT = "^{commit}"


def tree_of(text: str, *, path: str) -> dict[str, str]:
    """The rendered tree of a site file, secrets as placeholders."""
    stack = stack_of(read_site(text, NAMES, path=path))
    return {name: file.content.decode() for name, file in render(stack, Placeholders()).files.items()}


def read_tree(folder: Path) -> dict[str, str]:
    """What a rendered tree in this folder holds; anything else in it, like `.git`, is not ours to read or remove.

    Raises ConfigError for the folder that `up` keeps real secrets in.
    """
    folder = folder.resolve()
    _refuse_live(folder)
    try:
        files = sorted(path for name in OWN for path in _below(folder / name) if path.is_file())
        return {str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace") for path in files}
    except OSError as error:
        raise ConfigError(
            f"cannot read `{error.filename}`: {error.strerror}", hint="check its owner and mode"
        ) from None


def _below(path: Path) -> Iterator[Path]:
    yield from path.rglob("*") if path.is_dir() else (path,)


def write_tree(folder: Path, tree: Tree) -> int:
    """Make the folder hold exactly this tree; how many files that changed.

    Raises ConfigError for a folder with other people's files, and for the one that `up` keeps secrets in.
    """
    present = read_tree(folder)
    try:
        _refuse_foreign(folder)
        return _write(folder, present, tree)
    except OSError as error:
        reason = f"cannot write `{error.filename}`: {error.strerror}"
        raise ConfigError(reason, hint="name another folder: `--output DIR`, or use sudo") from None


def _write(folder: Path, present: Tree, tree: Tree) -> int:
    for name in present.keys() - tree.keys():
        (folder / name).unlink()
    changed = [name for name in tree if present.get(name) != tree[name]]
    for name in changed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(tree[name], encoding="utf-8")
    return len(changed) + len(present.keys() - tree.keys())


def _refuse_live(folder: Path) -> None:
    if folder.name == "rendered" and (folder.parent / "secrets.env").exists():
        raise ConfigError(
            f"`{folder}` is where `kmuctl up` keeps the files with the real secrets",
            hint="name another folder: `--output DIR`; `kmuctl up --dry-run` compares with this one",
        )


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"`{folder}` is a file", hint="name a folder: `--output DIR`")
    if folder.is_dir() and any(folder.iterdir()) and not _is_ours(folder):
        raise ConfigError(f"`{folder}` holds other files", hint="name an empty or a new folder: `--output DIR`")


def _is_ours(folder: Path) -> bool:
    project = folder / compose.FILE
    return project.is_file() and project.read_text(encoding="utf-8", errors="replace").startswith(compose.HEADER)


def difference(old: Tree, new: Tree) -> str:
    """A unified diff of two trees, "" when they are equal."""
    return "".join(_file_difference(name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys()))


def _file_difference(name: str, old: str | None, new: str | None) -> str:
    before = "/dev/null" if old is None else f"a/{name}"
    after = "/dev/null" if new is None else f"b/{name}"
    lines = difflib.unified_diff((old or "").splitlines(), (new or "").splitlines(), before, after, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def text_at(path: Path, revision: str) -> str | None:
    """The site file as it was; None when it did not exist then."""
    folder = path.resolve().parent
    _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + COMMIT)
    prefix = _git(folder, "rev-parse", "--show-prefix").strip()
    if not _git(folder, "ls-tree", "--name-only", "--full-tree", revision, "--", f"{prefix}{path.name}"):
        return None
    return _git(folder, "show", f"{revision}:{prefix}{path.name}")


def _git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError:
        raise ConfigError("git is not installed", hint="`apt install git`") from None
    if done.returncode:
        reason = (
            done.stderr.strip().splitlines()[-1]
            if done.stderr.strip()
            else f"no revision `{arguments[-1].removesuffix(COMMIT)}`"
        )
        hint = "`--against` wants a revision of the repository that the site file is in; in CI fetch it first"
        raise ConfigError(f"git cannot answer: {reason}", hint=hint)
    return done.stdout


def markdown(old: Tree, new: Tree, command: str) -> str:
    """The difference as a comment for a pull request: the files that fit, and the command that shows the others too."""
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    if not names:
        return "**kmuctl**: no rendered file changes.\n"
    head = f"**kmuctl**: {len(names)} rendered file{'s' if len(names) > 1 else ''} would change.\n"
    sections = [_section(name, old.get(name), new.get(name)) for name in names]
    shown = _fitting(sections, COMMENT_LENGTH - len(head) - len(_rest(len(sections), command)))
    return head + "".join(shown) + (_rest(len(names) - len(shown), command) if len(shown) < len(names) else "")


def _fitting(sections: list[str], room: int) -> list[str]:
    """Whole sections, in order; one that is too long does not keep the next out."""
    shown: list[str] = []
    for section in sections:
        if len(section) <= room:
            shown.append(section)
            room -= len(section)
    return shown


def _rest(count: int, command: str) -> str:
    return f"\n… {count} more file{'s' if count > 1 else ''}; `{command}` shows all\n"


def _section(name: str, old: str | None, new: str | None) -> str:
    kind = "new" if old is None else "removed" if new is None else "changed"
    body = _file_difference(name, old, new)
    fence = "`" * max(3, 1 + max((len(run) for run in body.split() if set(run) == {"`"}), default=0))
    return f"\n<details><summary><code>{name}</code> ({kind})</summary>\n\n{fence}diff\n{body}{fence}\n\n</details>\n"
