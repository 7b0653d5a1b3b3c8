"""The benches: ours and theirs in turn, the best time of each, and the ratio against what DESIGN wants."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from rich.console import Console
from rich.table import Table

from kmuctl import assets
from kmuctl.model.secrets import Placeholders
from kmuctl.model.service import Container, Proxy, Route, Service
from kmuctl.model.site import Site, read_site
from kmuctl.model.stack import Stack, build
from kmuctl.operations.render import render
from kmuctl.services import CATALOG, NAMES

KMUCTL = str(Path(sys.executable).parent / "kmuctl")
DOMAIN = "acme.example"
APPS = 25
SITE = f"""
domain = "{DOMAIN}"
name = "ACME GmbH"
[admin]
username = "mmustermann"
name = "Max Mustermann"
email = "max@{DOMAIN}"
"""
FRAGMENT = """services:
  {{ service.name }}:
    environment: {DOMAIN: {{ site.domain | tojson }}}
    networks: [proxy]
    healthcheck: {test: [CMD, "true"]}
"""
PYINFRA = """from pathlib import Path
from pyinfra.operations import files
for source in sorted(Path("sources").iterdir()):
    files.template(name=source.name, src=str(source), dest=str(Path("out", source.name).absolute()), domain="{domain}")
"""
ANSIBLE = """- hosts: localhost
  gather_facts: false
  vars: {domain: "{domain}", ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - ansible.builtin.template: {src: "{{ item }}", dest: "{{ playbook_dir }}/out/{{ item | basename }}"}
      with_fileglob: sources/*
"""


@dataclass(frozen=True)
class Row:
    name: str
    ours: str
    theirs: str
    ratio: str
    wanted: str
    met: bool


def seconds(run: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    start = clock()
    run()
    return clock() - start


def in_turn(runs: int, *competitors: Callable[[], object], clock: Callable[[], float] = perf_counter) -> list[float]:
    """The best time of each: a cold cache or other programs on this machine only ever add to it."""
    rounds = [[seconds(competitor, clock) for competitor in competitors] for _ in range(runs)]
    return [min(times) for times in zip(*rounds, strict=True)]


def process(*command: str, folder: Path | None = None) -> Callable[[], object]:
    """A command as a whole process, with byte code as after any installation; a failure is not measured."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": ""}

    def run() -> None:
        done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"bench: `{' '.join(command)}` failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    return run


def show_help() -> Iterator[Row]:
    ours, theirs = in_turn(20, process(KMUCTL, "--help"), process(sys.executable, "-c", "import typer"))
    yield slower("kmuctl --help : import typer", ours, theirs, 1.5)


def render_core(folder: Path, tools: Path) -> Iterator[Row]:
    """The core site's files, and as many of the same sizes by the others: fresh folder, one process each."""
    (folder / "kmu.toml").write_text(SITE)
    ours = into(folder / "rendered", process(KMUCTL, "render", folder=folder))
    ours()
    sizes = prepare(folder)
    for name, command, runs, wanted in (
        ("pyinfra", ("pyinfra", "-y", "@local", "pyinfra_deploy.py"), 5, 5),
        ("ansible-playbook", ("ansible-playbook", "-c", "local", "-i", "localhost,", "play.yml"), 1, 25),
    ):
        other = into(folder / "out", process(str(tools / command[0]), *command[1:], folder=folder))
        mine, theirs = in_turn(runs, ours, other)
        written = sorted(path.stat().st_size for path in (folder / "out").iterdir())
        if written != sizes:
            raise SystemExit(f"bench: {name} wrote {len(written)} files, not the {len(sizes)} that kmuctl wrote")
        yield faster(f"kmuctl render : {name}, {len(sizes)} files", mine, theirs, wanted)


def into(folder: Path, run: Callable[[], object]) -> Callable[[], object]:
    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run()

    return fresh


def prepare(folder: Path) -> list[int]:
    """Templates that give files of the same sizes; their sizes."""
    sources = folder / "sources"
    sources.mkdir()
    (folder / "pyinfra_deploy.py").write_text(PYINFRA.replace("{domain}", DOMAIN))
    (folder / "play.yml").write_text(ANSIBLE.replace("{domain}", DOMAIN))
    written = sorted(path for path in (folder / "rendered").rglob("*") if path.is_file())
    for path in written:
        name = str(path.relative_to(folder / "rendered")).replace("/", "_")
        (sources / name).write_text(template(path.read_text()))
    return sorted(path.stat().st_size for path in written)


def template(text: str) -> str:
    """Text that renders to as many bytes, the domain filled in."""
    for mark in ("{{", "{%", "{#"):
        text = text.replace(mark, "<<")
    return text.replace(DOMAIN, "{{ domain }}")


def render_many() -> Iterator[Row]:
    """The core site with 1, 5 and 20 times as many apps added: the processor time that each added app costs."""
    site = read_site(SITE, NAMES, path="kmu.toml")
    sizes = [APPS * factor for factor in (1, 5, 20)]
    bare, *times = in_turn(5, *(renderer(site, size) for size in (0, *sizes)), clock=process_time)
    each = [(time - bare) / size for time, size in zip(times, sizes, strict=True)]
    for size, time in zip(sizes[1:], each[1:], strict=True):
        yield slower(f"render, per app: {size} apps : {sizes[0]} apps", time, each[0], 1.5)


def renderer(site: Site, size: int) -> Callable[[], object]:
    apps = [app(number) for number in range(size)]
    sources = assets.sources() | {f"compose/{service.name}.yml.j2": FRAGMENT for service in apps}
    stack: Stack = build(site, (*CATALOG, *apps))
    return lambda: render(stack, Placeholders(), sources)


def app(number: int) -> Service:
    name = f"app{number}"
    return Service(
        name=name,
        title=name,
        containers=(Container(name=name, image="example/app:1.0", uid=1000, memory=128),),
        routes=(Route(name, name, 8080),),
        login=Proxy(),
        launcher={"en": "An app"},
    )


def idle_up() -> Iterator[Row]:
    """`kmuctl up` on a healthy stack; the first run is not counted, it may find something to do."""
    site = os.environ.get("KMU_BENCH_SITE", "/opt/kmu-demo/kmu.toml")
    status = subprocess.run([KMUCTL, "--json", "--site", site, "status"], check=False, capture_output=True)
    if status.returncode or not json.loads(status.stdout)["ok"]:
        yield Row("kmuctl up, nothing to do", "skipped: run scripts/demo first", "", "", "5 s", met=True)
        return
    run = process(KMUCTL, "--site", site, "up")
    run()
    time = median(seconds(run) for _ in range(3))
    yield Row("kmuctl up, nothing to do", shown(time), "", "", "at most 5 s", met=time <= 5)


def slower(name: str, ours: float, theirs: float, at_most: float) -> Row:
    ratio = ours / theirs
    return Row(name, shown(ours), shown(theirs), f"{ratio:.2f}x", f"at most {at_most:g}x", met=ratio <= at_most)


def faster(name: str, ours: float, theirs: float, at_least: float) -> Row:
    ratio = theirs / ours
    wanted = f"at least {at_least:g}x faster"
    return Row(name, shown(ours), shown(theirs), f"{ratio:.1f}x faster", wanted, met=ratio >= at_least)


def shown(time: float) -> str:
    return f"{time:.2f} s" if time >= 1 else f"{time * 1000:.1f} ms"


def report(rows: list[Row]) -> int:
    table = Table("name", "ours", "theirs", "ratio", "wanted", "verdict", box=None, pad_edge=False)
    for row in rows:
        verdict = "" if row.ours.startswith("skipped") else "ok" if row.met else "MISSED"
        table.add_row(row.name, row.ours, row.theirs, row.ratio, row.wanted, verdict)
    Console(width=160).print(table)
    missed = [row.name for row in rows if not row.met]
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if missed else 0


def main() -> int:
    tools = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        return report([*show_help(), *render_core(Path(folder), tools), *render_many(), *idle_up()])


if __name__ == "__main__":
    sys.exit(main())
