"""Steps for what lies on the host: state folders, rendered files, and rendered files that nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import groupby

from kmuctl.model.host import Fact, Host, Reader
from kmuctl.model.service import Data, Service
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.render import OWN, File

DOMAIN_FILE = "data/domain"
"""Beside the data: whose it is."""


def data_step(stack: Stack, service: Service) -> Step:
    """The state folders of one service, with the right owner before its first start."""
    folders = {stack.data(service.name, data.name): data for data in service.data}

    def wrong(host: Reader) -> list[str]:
        facts = host.facts(folders)
        return [path for path, data in folders.items() if not _is_own(facts.get(path), data)]

    def check(host: Reader) -> Drift | None:
        found = wrong(host)
        return Drift(f"to make or to own: {few(path.rsplit('/', 1)[1] for path in found)}") if found else None

    def apply(host: Host) -> None:
        for path in wrong(host):
            host.make_folder(path, mode=folders[path].mode, uid=folders[path].uid)

    return Step(name=f"data:{service.name}", check=check, apply=apply, after=("secrets",))


def _is_own(fact: Fact | None, data: Data) -> bool:
    """Programs tighten or open their folder as they like, but nobody else may write there."""
    return fact is not None and fact.uid == data.uid and not fact.mode & ~data.mode & 0o022


def file_steps(folder: str, files: Mapping[str, File]) -> Iterator[Step]:
    """The rendered files, a step for each service."""
    by_service = sorted(files.items(), key=lambda item: item[1].service)
    for service, group in groupby(by_service, key=lambda item: item[1].service):
        yield _files_step(f"files:{service}", {f"{folder}/{path}": file for path, file in group}, folder)


def _files_step(name: str, files: Mapping[str, File], folder: str) -> Step:
    def wrong(host: Reader) -> list[str]:
        facts = host.facts(files)
        return [path for path, file in files.items() if not _matches(facts.get(path), file)]

    def check(host: Reader) -> Drift | None:
        found = wrong(host)
        return Drift(f"to write: {few(path.removeprefix(folder + '/') for path in found)}") if found else None

    def apply(host: Host) -> None:
        host.write_all({path: files[path] for path in wrong(host)})

    return Step(name=name, check=check, apply=apply, after=("secrets",))


def _matches(fact: Fact | None, file: File) -> bool:
    wanted = (sha256(file.content).hexdigest(), file.mode, file.uid)
    return fact is not None and (fact.digest, fact.mode, fact.uid) == wanted


def stale_step(folder: str, files: Mapping[str, File], *, after: tuple[str, ...]) -> Step:
    """No rendered file of an app that was switched off stays behind. After the writing: that has files of its own."""

    def stale(host: Reader) -> list[str]:
        return [path for path in host.tree(folder) if path not in files and path.split("/")[0] in OWN]

    def check(host: Reader) -> Drift | None:
        found = stale(host)
        return Drift(f"to remove: {few(found)}") if found else None

    def apply(host: Host) -> None:
        for path in stale(host):
            host.remove(f"{folder}/{path}")

    return Step(name="files:stale", check=check, apply=apply, after=after)


def copy_step(name: str, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> Step:
    """One file with this content."""
    return _files_step(name, {path: File(content, "", mode, uid)}, path.rsplit("/", 1)[0])
