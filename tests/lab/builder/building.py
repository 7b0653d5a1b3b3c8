"""Which images are missing or out of date, and building them, two at a time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter

from tests.lab.builder.contexts import FOLDERS, context, parents
from tests.lab.builder.engine import LABEL, LabError, present, run, say
from tests.lab.builder.rootfs import ROOTFS, ensure_rootfs

PROXY_SETTINGS = ("http_proxy", "https_proxy", "no_proxy")


def require_folders(folders: Iterable[str]) -> None:
    missing = [folder for folder in folders if not (FOLDERS / folder / "Dockerfile").is_file()]
    if missing:
        raise LabError("no Dockerfile for: " + ", ".join(f"tests/lab/images/{folder}" for folder in missing))


class Builder:
    def __init__(self, wanted: dict[str, list[str]]) -> None:
        self.wanted = wanted
        self.have = present(tag for tags in wanted.values() for tag in tags)
        self.sources: dict[str, str] = {}

    def ensure(self, folder: str) -> None:
        if folder in ROOTFS:
            ensure_rootfs(folder)
            return
        archive = context(folder)
        self.sources[folder] = source = self.source(folder, archive)
        tags = self.wanted[folder]
        if any(self.have.get(tag) != source for tag in tags):
            build(folder, archive, tags, source)

    def source(self, folder: str, archive: bytes) -> str:
        """Changes when a file of the folder changes, or when one of its parents does."""
        digest = hashlib.sha256(archive)
        for parent in sorted(parents(folder) - ROOTFS.keys()):
            digest.update(self.sources[parent].encode())
        return digest.hexdigest()


def build(folder: str, archive: bytes, tags: list[str], source: str) -> None:
    started = time.monotonic()
    say(f"building {folder}")
    command = ["docker", "build", "--quiet", "--network", "host", "--label", f"{LABEL}={source}"]
    command += [f"--tag={tag}" for tag in tags]
    command += [f"--build-arg={name}" for name in PROXY_SETTINGS if name in os.environ]
    run(*command, "-", content=archive)
    say(f"built {folder} in {time.monotonic() - started:.0f} s: {', '.join(tags)}")


def with_parents(folders: Iterable[str]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    todo = list(folders)
    while todo:
        folder = todo.pop()
        if folder in ROOTFS:
            graph[folder] = set()
        elif folder not in graph:
            require_folders([folder])
            graph[folder] = parents(folder)
            todo += graph[folder]
    return graph


def build_all(folders: Iterable[str], wanted: dict[str, list[str]]) -> None:
    """Build these folders and their parents; `wanted` says which tags each must carry."""
    order = TopologicalSorter(with_parents(folders))
    builder = Builder(wanted)
    order.prepare()
    # Two at a time: more only makes them wait for each other's downloads and disk.
    with ThreadPoolExecutor(2) as pool:
        running: dict[Future[None], str] = {}
        while order.is_active():
            running |= {pool.submit(builder.ensure, folder): folder for folder in order.get_ready()}
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                order.done(running.pop(future))
