"""Commands on the server as root: a command is a list, quoted here and nowhere else."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from kmuctl.drivers.ssh.link import Link, Said
from kmuctl.drivers.ssh.people import People
from kmuctl.model.errors import HostError
from kmuctl.model.host import Answer, Entry

if TYPE_CHECKING:
    from paramiko import Channel

ENVIRONMENT = ("LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin")
GREETING = 'id -u; date +%s.%N; echo "$SSH_CONNECTION"; sudo -k -n true 2>/dev/null; echo $?'
"""`-k`: a ticket of an earlier command may be over at the next."""
ATTEMPTS = 3
LONGEST = 80
NO_PROGRAM = 127


@dataclass(frozen=True, slots=True)
class Sudo:
    """How root's rights are had. A password is the first line of each command's input, and nowhere else."""

    words: tuple[str, ...] = ()
    password: bytes = b""


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the server says of us and of itself."""

    uid: int
    ahead: float
    """Seconds that its clock is ahead of ours."""
    session: tuple[str, ...]
    """SSH_CONNECTION: the client's address and port, the server's."""
    sudo: int
    """The exit code of `sudo -k -n true`."""


class Shell:
    def __init__(self, link: Link, people: People) -> None:
        self.link = link
        welcome = _greet(link)
        self.ahead = welcome.ahead
        self.entry = _entry(link, welcome)
        self._sudo = Sudo()
        if welcome.uid:
            self._sudo = Sudo(("sudo", "-n", "--")) if welcome.sudo == 0 else _with_password(link, welcome, people)

    def run(self, command: Sequence[str], stdin: bytes = b"", folder: str | None = None, what: str = "") -> Said:
        return self.link.execute(
            self.line(command, folder), self._sudo.password + stdin, what or f"`{_shortened(command)}`"
        )

    def answer(self, command: Sequence[str], stdin: bytes = b"", folder: str | None = None) -> Answer:
        said = self.run(command, stdin, folder)
        return Answer(said.code, said.out.decode(errors="replace"), said.err.decode(errors="replace"))

    def script(self, text: str, *arguments: str, stdin: bytes = b"", what: str) -> Said:
        """A script for a POSIX shell, with its arguments."""
        return self.run(("sh", "-c", text, "sh", *arguments), stdin, what=what)

    def line(self, command: Sequence[str], folder: str | None = None) -> str:
        place = ("-C", folder) if folder else ()
        return shlex.join([*self._sudo.words, "env", *place, *ENVIRONMENT, *command])

    @contextmanager
    def session(self, command: Sequence[str]) -> Iterator[Channel]:
        """A channel to a command that runs as long as it likes."""
        with self.link.session(self.line(command), f"`{_shortened(command)}`") as channel:
            with suppress(OSError, EOFError):  # whoever reads from it next sees that it is closed
                channel.sendall(self._sudo.password)
            yield channel

    def own_line(self, command: Sequence[str]) -> str:
        """For a terminal, on which sudo asks by itself."""
        words = ("sudo", "--") if self._sudo.password else self._sudo.words
        return shlex.join([*words, "env", *ENVIRONMENT, *command])


def _greet(link: Link) -> Welcome:
    said = link.execute(shlex.join(["sh", "-c", GREETING]), b"", "the first command")
    try:
        uid, clock, session, sudo = said.out.decode().splitlines()[-4:]
        return Welcome(int(uid), float(clock) - time(), tuple(session.split()), int(sudo))
    except ValueError:
        reason = (said.err or said.out).decode(errors="replace").strip()[:200] or "it says nothing"
        raise HostError(f"{link.settings} does not run commands as a shell does: {reason}") from None


def _entry(link: Link, welcome: Welcome) -> Entry:
    client, port = (welcome.session[0], int(welcome.session[3])) if len(welcome.session) == 4 else ("", None)
    session = " ".join(welcome.session) or "ssh"
    since = link.began + welcome.ahead
    return Entry(user=link.settings.user, ssh_port=port, client=client, session=session, by_key=True, since=since)


def _with_password(link: Link, welcome: Welcome, people: People) -> Sudo:
    """Asked for once. `-k`: no ticket of an earlier command spares the password, so the first line is always its."""
    if welcome.sudo == NO_PROGRAM:
        raise HostError(f"{link.settings} is not root, and there is no sudo", hint="sign in as root, or install sudo")
    sudo, said = ("sudo", "-k", "-S", "-p", "", "--"), ""
    for _ in range(ATTEMPTS):
        password = people.secret(f"Password of {link.settings.user} on {link.settings.host}, for sudo")
        if password is None:
            hint = "run it on a terminal, or allow sudo without a password, or sign in as root"
            raise HostError(f"sudo on {link.settings.host} wants a password, and nobody is here to type it", hint=hint)
        answer = link.execute(shlex.join(["env", "LC_ALL=C", *sudo, "true"]), f"{password}\n".encode(), "`sudo true`")
        if answer.code == 0:
            return Sudo(sudo, f"{password}\n".encode())
        said = answer.err.decode(errors="replace").strip().rpartition("\n")[2]
    hint = f"is the password right, and may `{link.settings.user}` use sudo (`sudo -l` there)? Else sign in as root"
    raise HostError(f"sudo refuses `{link.settings.user}`: {said}", hint=hint)


def _shortened(command: Sequence[str]) -> str:
    text = " ".join(command)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
