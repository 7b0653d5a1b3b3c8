"""The running stack as its users see it: `kmuctl` as a program, pages through the real Caddy, containers by the engine.

Nothing here depends on names being resolved: every public name is asked at 127.0.0.1, with the stack's own CA.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import httpx
import tomlkit

from kmuctl.model.secrets import parse
from kmuctl.model.site import load_site
from kmuctl.model.stack import PROJECT, Stack
from kmuctl.services import NAMES, stack_of

Seen = TypeVar("Seen")
Run = subprocess.CompletedProcess[str]
HERE = "127.0.0.1"
PUBLIC = "192.0.3.7"
"""The site's: what callers are told. Nobody is there, but for a test that needs it."""


def eventually(look: Callable[[], Seen], *, within: float = 30, every: float = 0.5, what: str = "") -> Seen:
    """Look until the answer is truthy, and return it; fail with the last answer otherwise."""
    end = monotonic() + within
    while not (seen := look()):
        assert monotonic() < end, f"not within {within:.0f} s: {what or look.__name__}; last seen: {seen!r}"
        sleep(every)
    return seen


def run(
    *command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None,
    stdin: str = "", within: float = 300,
) -> Run:  # fmt: skip
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, cwd=folder, check=False, timeout=within,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def docker(*arguments: str, stdin: str = "") -> str:
    """What the engine's own client says; anything but success is an error of the test."""
    done = run("docker", *arguments, stdin=stdin)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def api(site: LabSite, path: str, method: str = "GET", body: Any = None, token: str = "") -> Any:
    """Authentik's own interface, with kmuctl's token."""
    headers = {"Authorization": f"Bearer {token or site.secrets()['authentik_bootstrap_token']}"}
    url = f"http://{address('authentik-server')}:9000/api/v3/{path}"
    answer = httpx.request(method, url, headers=headers, json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.text else None


def sign_in(site: LabSite, browser: httpx.Client, name: str, password: str) -> bool:
    """As Authentik's own page does it; whether the browser is signed in afterwards."""
    flow = site.url("auth", "/api/v3/flows/executor/default-authentication-flow/")
    for answer in ({"uid_field": name}, {"password": password}):
        browser.get(flow)
        browser.post(flow, json=answer)
    return bool(browser.get(flow).json()["component"] == "xak-flow-redirect")


@dataclass(frozen=True)
class LabSite:
    """One trial site whose site file and host folder are the same folder."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "kmu.toml"

    @property
    def rendered(self) -> Path:
        return self.folder / "rendered"

    @property
    def stack(self) -> Stack:
        return stack_of(load_site(self.file, NAMES))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "kmuctl", "--site", str(self.file), *arguments]

    def kmuctl(self, *arguments: str, environment: Mapping[str, str] | None = None, stdin: str = "") -> Run:
        """Run kmuctl as anybody would, without a terminal."""
        return run(*self.command(*arguments), environment=environment, stdin=stdin, within=600)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """kmuctl at work; whatever is left of it in the end is killed."""
        command = self.command(*arguments)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def up(self, *arguments: str) -> dict[str, Any]:
        """Bring it up, successfully; the report."""
        return report(self.kmuctl("--json", "up", *arguments))

    def plan(self) -> dict[str, str]:
        """The steps that `up` would take, and why."""
        steps = report(self.kmuctl("--json", "up", "--dry-run"))["steps"]
        return {step["step"]: step["cause"] for step in steps if step["state"] != "ok"}

    def secrets(self) -> dict[str, str]:
        path = self.folder / "secrets.env"
        found = parse(path.read_text(), lambda _: None, path=str(path))
        return {name: value.reveal() for name, value in found.items()}

    @contextmanager
    def edited(self, table: str, **values: Any) -> Iterator[None]:
        """The site file with some values of one table replaced; afterwards it is as before, byte by byte."""
        before = self.file.read_text()
        document = tomlkit.parse(before)
        document[table].update(values)
        self.file.write_text(tomlkit.dumps(document))
        try:
            yield
        finally:
            self.file.write_text(before)

    def browser(self) -> httpx.Client:
        """Keeps cookies, follows nothing by itself, trusts the stack's own CA and no other."""
        transport = AtThisMachine(verify=self.trust(), trust_env=False)
        return httpx.Client(transport=transport, trust_env=False, timeout=20)

    def trust(self) -> ssl.SSLContext:
        """The stack's own CA, and no other."""
        authority = self.folder / "data/caddy/data/caddy/pki/authorities/local/root.crt"
        return ssl.create_default_context(cafile=str(authority))

    def get(self, host: str, path: str = "/", **headers: str) -> httpx.Response:
        """One answer of one public name; `host` is the label below the domain."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.browser() as browser:
            return browser.get(self.url(host, path), headers=names)

    def url(self, host: str, path: str = "/") -> str:
        return self.stack.site.url(host) + path


def report(done: Run) -> dict[str, Any]:
    """The one JSON object of a command that succeeded."""
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class AtThisMachine(httpx.HTTPTransport):
    """Every name lives here; certificates are still checked for the name itself."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        here = httpx.Request(
            request.method, request.url.copy_with(host=HERE), headers=request.headers, stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )  # fmt: skip
        return super().handle_request(here)


def containers(*, everything: bool = False) -> dict[str, dict[str, Any]]:
    """What the engine knows about each container of the project, by service."""
    ids = docker("ps", *(["--all"] if everything else []), "--quiet", "--filter", f"label={LABEL}={PROJECT}").split()
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
    return {item["Config"]["Labels"]["com.docker.compose.service"]: item for item in found}


LABEL = "com.docker.compose.project"


def ids() -> dict[str, str]:
    """Id and start time: equal means neither made anew nor restarted."""
    return {name: f"{item['Id']} {item['State']['StartedAt']}" for name, item in containers(everything=True).items()}


def health(name: str) -> str:
    item = containers(everything=True).get(name)
    return str(item["State"].get("Health", {}).get("Status", item["State"]["Status"])) if item else "missing"


def name_of(service: str) -> str:
    """The engine's name of a container."""
    return str(containers(everything=True)[service]["Name"]).lstrip("/")


def address(service: str) -> str:
    """Where this machine reaches the container."""
    networks = containers()[service]["NetworkSettings"]["Networks"].values()
    return next(str(network["IPAddress"]) for network in networks if network["IPAddress"])


def inside(service: str, *command: str) -> Run:
    """Run a command in a container of the stack."""
    return run("docker", "exec", name_of(service), *command)
