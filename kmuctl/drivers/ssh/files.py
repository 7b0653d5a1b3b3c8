"""Files on the server, by small scripts for a POSIX shell: a fresh server has no Python."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping

from kmuctl.drivers.io_errors import HINTS, absent, io_error
from kmuctl.drivers.ssh.link import Said
from kmuctl.drivers.ssh.shell import Shell
from kmuctl.model.host import Content, Fact

MOST_BYTES = 60_000
"""Of paths in one command: the kernel takes 128 KiB for a single word."""
READ = 'cat -- "$1"'
FACTS = """
stat -L --printf '%f %u %.9Y %n\\0' -- "$@"
printf '\\0'
for path do [ -f "$path" ] && set -- "$@" "$path"; shift; done
[ $# = 0 ] || sha256sum -z -- "$@"
"""
TREE = '[ ! -d "$1" ] || find -H "$1/" -mindepth 1 ! -xtype d -printf "%P\\\\0"'
WRITE = """
beside() { printf '%s' "${1%/*}/.${1##*/}.new"; }
clean() { for path do rm -f -- "$(beside "$path")"; done; }
trap 'clean "$@"' EXIT
set -e
umask 022
tar -x -m -p -P --same-owner --numeric-owner --unlink-first -f -
for path do set -- "$@" "$(beside "$path")"; shift; done
sync -- "$@"
trap 'rm -f -- "$@"' EXIT
for new do
    path=${new%.new} path=${path%/.*}/${path##*/.}
    if [ -f "$path" ] && [ ! -L "$path" ] && exec 3<"$path" && cmp -s -- "$new" /proc/self/fd/3; then
        chown --reference="$new" /proc/self/fd/3
        chmod --reference="$new" /proc/self/fd/3
    else
        mv -fT -- "$new" "$path"
    fi
done
"""
"""What is compared is what gets another owner, whoever puts a link in its place meanwhile."""
MAKE_FOLDER = 'umask 022; mkdir -p -- "$1" && chown "$3:$3" -- "$1" && chmod "$2" -- "$1"'
REMOVE = """
set -e
if [ -d "$1" ]; then rm -rf -- "$(readlink -f -- "$1")"; fi
rm -f -- "$1"
"""


class Files:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def read(self, path: str) -> bytes | None:
        said = self._shell.script(READ, path, what=f"reading `{path}`")
        if said.code == 0:
            return said.out
        if absent(reason := _reason(said)):
            return None
        raise io_error("read", path, reason)

    def facts(self, paths: Iterable[str]) -> dict[str, Fact]:
        found: dict[str, Fact] = {}
        for some in _parts(paths):
            said = self._shell.script(FACTS, *some, what="looking at files")
            found |= _facts(said.out)
            for line in said.err.decode(errors="replace").splitlines():
                if not absent(reason := line.rpartition(": ")[2]):
                    raise io_error("read", some[0] if len(some) == 1 else line.partition(": ")[2], reason)
        return found

    def tree(self, folder: str) -> list[str]:
        said = self._shell.script(TREE, folder, what=f"looking at `{folder}`")
        if said.code:
            raise io_error("read", folder, _reason(said))
        return sorted(path.decode(errors="replace") for path in said.out.split(b"\0") if path)

    def write_all(self, files: Mapping[str, Content]) -> None:
        """All travel as one stream to files beside the old ones, which they then replace."""
        if not files:
            return
        what = f"writing `{next(iter(files))}`" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        said = self._shell.script(WRITE, *files, stdin=_stream(files), what=what)
        if said.code:
            raise io_error("write", _named(said, files), _reason(said))

    def make_folder(self, path: str, *, mode: int, uid: int) -> None:
        said = self._shell.script(MAKE_FOLDER, path, f"{mode:o}", str(uid), what=f"making `{path}`")
        if said.code:
            raise io_error("make", path, _reason(said))

    def remove(self, path: str) -> None:
        said = self._shell.script(REMOVE, path, what=f"removing `{path}`")
        if said.code:
            raise io_error("remove", path, _reason(said))


def beside(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.new"


def _stream(files: Mapping[str, Content]) -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path, file in files.items():
                item = tarfile.TarInfo(beside(path))
                item.size, item.mode, item.uid, item.gid = len(file.content), file.mode, file.uid, file.uid
                archive.addfile(item, io.BytesIO(file.content))
        return stream.getvalue()


def _parts(paths: Iterable[str]) -> Iterator[list[str]]:
    """As many at a time as fit into one command."""
    some: list[str] = []
    size = 0
    for path in paths:
        if some and size + len(path.encode()) > MOST_BYTES:
            yield some
            some, size = [], 0
        some.append(path)
        size += len(path.encode()) + 3
    if some:
        yield some


def _facts(out: bytes) -> dict[str, Fact]:
    """First a record for each path that exists, then after an empty one the digests of the files."""
    statuses, _, digests = out.partition(b"\0\0") if not out.startswith(b"\0") else (b"", b"", out[1:])
    known = {path.decode(): digest.decode() for digest, _, path in (row.partition(b"  ") for row in _rows(digests))}
    found = {}
    for row in _rows(statuses):
        mode, uid, written, path = row.decode().split(" ", 3)
        folder = stat.S_ISDIR(int(mode, 16))
        digest = "" if folder else known.get(path, "")
        found[path] = Fact(digest, stat.S_IMODE(int(mode, 16)), int(uid), folder, float(written))
    return found


def _rows(text: bytes) -> list[bytes]:
    return [row for row in text.split(b"\0") if row]


def _reason(said: Said) -> str:
    """The C library's own words, from the first line that has them: programs add theirs before and after."""
    lines = [line.strip() for line in said.err.decode(errors="replace").splitlines() if line.strip()]
    reasons = [line.rpartition(": ")[2] for line in lines]
    known = [reason for reason in reasons if reason in HINTS or absent(reason)]
    return next(iter(known or reasons), f"it ended with code {said.code} and said nothing")


def _named(said: Said, files: Mapping[str, Content]) -> str:
    """Which of them the complaint is about."""
    text = said.err.decode(errors="replace")
    return next((path for path in files if path in text or beside(path) in text), next(iter(files)))
