"""`kmuctl init` on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmuctl.model.site import load_site
from kmuctl.services import NAMES
from tests.cli.runner import environment


class Terminal:
    """kmuctl with a person in front of it. No program is on its PATH: it can change nothing but this folder."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kmuctl", *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env=environment(PATH="/nonexistent", TERM="dumb", COLUMNS="120"),
        )  # fmt: skip
        os.close(slave)
        self.said = ""

    def expect(self, text: str) -> None:
        """Wait for text that comes after what was expected before."""
        deadline = time.monotonic() + 20
        while text not in self.said:
            assert time.monotonic() < deadline, f"no {text!r} in {self.said!r}"
            assert self._read(), f"ended without {text!r}: {self.said!r}"
        self.said = self.said.split(text, 1)[1]

    def answer(self, text: str) -> None:
        os.write(self.master, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C, as often as a person would press it: one that comes while a prompt is set up can get lost."""
        for _ in range(20):
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                continue
            return

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(20)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], 20)
        try:
            data = os.read(self.master, 4096) if ready else b""
        except OSError:
            return False  # the other side is closed
        self.said += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    started = Terminal("init")
    yield started
    started.process.kill()
    started.process.wait()
    os.close(started.master)


def test_it_asks_again_until_the_answer_is_good_and_offers_to_go_on(terminal: Terminal) -> None:
    """K29 K30."""
    terminal.expect("Domain of the company: ")
    terminal.answer("https://acme.example")
    terminal.expect("has a scheme: give `acme.example`")
    terminal.expect("Domain of the company: ")
    terminal.answer("Müller-KMU.de")  # capitals are no mistake at a keyboard
    terminal.expect("Name of the company: ")
    terminal.answer("Müller & Söhne")
    terminal.expect("Your sign-on name: ")
    terminal.answer("admin")
    terminal.expect("`admin` is reserved")
    terminal.expect("Your sign-on name: ")
    terminal.answer("mmueller")
    terminal.expect("Your full name: ")
    terminal.answer("Max Müller")
    terminal.expect("A mail address")
    terminal.answer("nonsense")
    terminal.expect("is not a mail address")
    terminal.answer("max@mueller.example")
    terminal.expect("müller-kmu.de (xn--mller-kmu-q9a.de in DNS)")
    terminal.expect("DNS records to set")
    terminal.expect("Ports to open")
    terminal.expect("Set it up on this machine now? [y/N]")
    terminal.answer("n")
    assert terminal.end() == 0
    site = load_site(Path("kmu.toml"), NAMES)
    assert (site.name, site.admin.username, site.display_domain) == ("Müller & Söhne", "mmueller", "müller-kmu.de")


def test_yes_goes_on_with_up(terminal: Terminal) -> None:
    """On this bare machine `up` then says what is missing, and changes nothing."""
    for question, text in {
        "Domain": "acme.example", "Name": "A", "sign-on name": "max", "full name": "M", "mail": "m@a.example",
    }.items():  # fmt: skip
        terminal.expect(question)
        terminal.answer(text)
    terminal.expect("Set it up on this machine now?")
    terminal.answer("y")
    terminal.expect("error: ")
    assert terminal.end() == 1


def test_ctrl_c_in_the_middle_writes_nothing(terminal: Terminal) -> None:
    terminal.expect("Domain")
    terminal.answer("acme.example")
    terminal.expect("Name")
    terminal.interrupt()
    assert terminal.end() == 130
    assert "interrupted: nothing was written" in terminal.said
    assert not Path("kmu.toml").exists()


def test_ctrl_c_after_the_file_says_that_it_is_there() -> None:
    late = Terminal("init", "--trial")
    late.expect("Set it up on this machine now?")
    late.interrupt()
    assert late.end() == 130
    assert "interrupted: `kmu.toml` is there; next: kmuctl --site kmu.toml up" in late.said
    assert Path("kmu.toml").exists()
    os.close(late.master)


def test_a_bad_flag_is_refused_before_anything_is_asked() -> None:
    early = Terminal("init", "--timezone", "Mars")
    assert early.end() == 2
    assert "--timezone: is not a time zone" in early.said
    assert "--domain" not in early.said
    assert "Domain" not in early.said
    os.close(early.master)


def test_yes_or_json_on_a_terminal_asks_nothing() -> None:
    for flag in ("--yes", "--json"):
        quiet = Terminal("init", flag)
        assert quiet.end() == 2
        assert "--domain: is missing" in quiet.said
        os.close(quiet.master)
