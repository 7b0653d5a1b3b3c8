"""The worker that watches the directory: what it logs, when it is healthy, and that it stops at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from kmuctl.panel import sync
from kmuctl.panel.health import check
from tests.panel.support import authentik


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def eventually(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_tells_each_change_once() -> None:
    watch = sync.Watch()
    lines = [
        watch.note(problem) for problem in ("no answer", "status 503", None, None, "status 500", "no answer", None)
    ]
    assert lines == [
        "the directory is not ready: no answer",
        None,
        "the directory is ready",
        None,
        "the directory is not ready: status 500",
        None,
        "the directory is ready",
    ]


def test_healthy_for_90_seconds_after_a_success() -> None:
    clock = Clock()
    watch = sync.Watch(clock)
    assert watch.reason() == "the directory was never ready: not asked yet"
    watch.note("status 503")
    assert watch.reason() == "the directory was never ready: status 503"
    watch.note(None)
    clock.now += 89
    assert watch.reason() is None
    clock.now += 1
    assert watch.reason() == "the directory was last ready 90 s ago: no answer since"
    watch.note("status 503")
    assert watch.reason() == "the directory was last ready 90 s ago: status 503"
    watch.note(None)
    assert watch.reason() is None


def test_a_poll_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client(timeout=0.2) as client:
        with authentik() as directory:
            assert sync.poll(client, directory.url) is None
            assert directory.asked == ["/-/health/ready/"]
            directory.status = 404
            assert sync.poll(client, directory.url) == "answers with status 404"
            directory.silent = threading.Event()
            assert "no answer" in str(sync.poll(client, directory.url))
        assert "no connection" in str(sync.poll(client, directory.url))


def test_answers_its_health_check() -> None:
    with authentik() as directory:
        directory.status = 503
        server = sync.Server(("127.0.0.1", 0), sync.Watch())
        here = f"http://127.0.0.1:{server.server_port}"
        with sync.running(directory.url, server, interval=0.05):
            eventually(lambda: bool(directory.asked))
            status, body = check(f"{here}/healthz")
            assert status == 503
            assert "never ready" in json.loads(body)["failing"]["directory"]
            directory.status = 200
            eventually(lambda: check(f"{here}/healthz")[0] == 200)
            assert check(f"{here}/other")[0] == 404
    assert check(f"{here}/healthz")[0] == 0


@pytest.mark.parametrize("address", [None, "", "authentik-server:9000"])
def test_does_not_start_without_an_address(address: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.main({} if address is None else {"KMU_AUTHENTIK_URL": address}) == 2
    assert "KMU_AUTHENTIK_URL" in capsys.readouterr().err


def test_stops_at_once_even_while_it_waits_for_an_answer() -> None:
    """As a program: it polls the moment it starts, and the directory is silent."""
    start = "import os, sys; from kmuctl.panel import sync; sync.PORT = 0; sys.exit(sync.main(os.environ))"
    with authentik() as directory:
        directory.silent = threading.Event()
        variables = os.environ | {"KMU_AUTHENTIK_URL": directory.url}
        with subprocess.Popen([sys.executable, "-c", start], env=variables) as worker:
            eventually(lambda: bool(directory.asked), 15)
            before = time.monotonic()
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(10) == 0
            assert time.monotonic() - before < 2
