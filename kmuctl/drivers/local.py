"""The machine that kmuctl itself runs on."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from time import time

from kmuctl.drivers import processes
from kmuctl.drivers.engine import DockerEngine
from kmuctl.drivers.http import HttpClient
from kmuctl.drivers.io_errors import io_error
from kmuctl.drivers.postgres import PostgresCluster
from kmuctl.drivers.reach import Place
from kmuctl.drivers.tls import TlsClient
from kmuctl.model.errors import Busy, HostError
from kmuctl.model.host import Answer, Content, Entry, Fact
from kmuctl.model.stack import PROJECT

SIGN_IN, SIGN_INS = "/proc/self/sessionid", "/run/systemd/sessions"
"""The number of the sign-in that a process comes from; what systemd knows of each."""
SSHD_NAMES = ("sshd", "sshd-session")
"""Of the process that each connection has; the second one's since OpenSSH 9.8."""


class LocalHost:
    at_once = 6

    @cached_property
    def engine(self) -> DockerEngine:
        return DockerEngine()

    @cached_property
    def cluster(self) -> PostgresCluster:
        return PostgresCluster(self.reach)

    @cached_property
    def http(self) -> HttpClient:
        return HttpClient(self.reach)

    @cached_property
    def tls(self) -> TlsClient:
        return TlsClient(self.reach)

    def reach(self, container: str, port: int, *, recent: bool = False) -> Place | None:
        address = self.engine.address(PROJECT, container)
        return Place(address, port) if address else None

    def now(self) -> float:
        return time()

    def entry(self) -> Entry:
        user = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
        session, since = _session(os.getpid()), _signed_in(os.getpid())
        if not session:
            return Entry(user=user, session="sshd" if since else _remote_login(), since=since)
        connection = session["SSH_CONNECTION"]
        client, _, _, port = connection.split()
        by_key = _by_key(session.get("SSH_USER_AUTH", ""))
        return Entry(user=user, ssh_port=int(port), client=client, session=connection, by_key=by_key, since=since)

    def enter_again(self) -> bool:
        return False

    def read(self, path: str) -> bytes | None:
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _io_error("read", path, error) from None

    def facts(self, paths: Iterable[str]) -> dict[str, Fact]:
        return {path: fact for path in paths if (fact := _fact(Path(path)))}

    def tree(self, folder: str) -> list[str]:
        root = Path(folder)
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())

    def query(self, command: Sequence[str]) -> Answer:
        return self.run(command)

    def run(self, command: Sequence[str], *, stdin: bytes = b"", folder: str | None = None) -> Answer:
        return processes.run(command, stdin, folder)

    def foreground(self, command: Sequence[str], variables: Mapping[str, str]) -> int:
        return processes.foreground(command, variables)

    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        target = Path(path)
        beside = target.with_name(f".{target.name}.new")
        try:
            if _kept(target, content, mode, uid):
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_private(beside, content, mode, uid)
            beside.replace(target)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise _io_error("write", path, error) from None

    def write_all(self, files: Mapping[str, Content]) -> None:
        for path, file in files.items():
            self.write(path, file.content, mode=file.mode, uid=file.uid)

    @contextmanager
    def lock(self, path: str, holder: str) -> Iterator[None]:
        try:
            Path(path).touch(mode=0o600)
            opened = Path(path).open("r+", encoding="utf-8")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise _io_error("lock", path, error) from None
        with opened as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                hint = "wait until it is done, then run this again"
                raise Busy(f"another kmuctl is at work here: {stream.read()}", hint=hint) from None
            stream.truncate(0)
            stream.write(holder)
            stream.flush()
            yield

    def make_folder(self, path: str, *, mode: int, uid: int) -> None:
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
            _hand_over(path, mode, uid)
        except OSError as error:
            raise _io_error("make", path, error) from None

    def remove(self, path: str) -> None:
        target = Path(path)
        try:
            if target.is_dir():
                shutil.rmtree(target.resolve())
            if target.is_symlink() or target.exists():
                target.unlink()
        except OSError as error:
            raise _io_error("remove", error.filename or path, error) from None


def _kept(path: Path, content: bytes, mode: int, uid: int) -> bool:
    """What holds it already gets mode and owner: the very file that was read, whoever puts a link there meanwhile."""
    if not path.is_file() or path.is_symlink():
        return False
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        same = stream.read() == content
        if same:
            _hand_over(stream.fileno(), mode, uid)
        return same


def _hand_over(file: int | str, mode: int, uid: int) -> None:
    if os.geteuid() == 0:
        os.chown(file, uid, uid)
    os.chmod(file, mode)  # noqa: PTH101 (a path has no handle)


def _write_private(path: Path, content: bytes, mode: int, uid: int) -> None:
    """Nobody else can read the file at any moment; it is on the disk when this returns."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        _hand_over(stream.fileno(), mode, uid)
        os.fsync(stream.fileno())


def _fact(path: Path) -> Fact | None:
    try:
        status = path.stat()
        folder = stat.S_ISDIR(status.st_mode)
        digest = "" if folder else hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _io_error("read", str(path), error) from None
    return Fact(digest, stat.S_IMODE(status.st_mode), status.st_uid, folder, status.st_mtime)


def _io_error(verb: str, path: str, error: OSError) -> HostError:
    return io_error(verb, path, error.strerror or str(error))


def _session(process: int) -> dict[str, str]:
    """The variables of the nearest process above us that knows its SSH session: sudo hides them from its own."""
    while process > 1:
        variables = _variables(process)
        if len(variables.get("SSH_CONNECTION", "").split()) == 4:
            return variables
        process = _parent(process)
    return {}


def _variables(process: int) -> dict[str, str]:
    """None of a process whose own we may not see."""
    try:
        lines = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    pairs = (line.decode(errors="replace").partition("=") for line in lines)
    return {name: value for name, _, value in pairs}


def _parent(process: int) -> int:
    """0 when it has ended."""
    _, status = _status(process)
    return int(status[1]) if status else 0


def _status(process: int) -> tuple[str, list[str]]:
    """Its name, in brackets, which may hold anything, and what follows."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return "", []
    before, _, after = text.rpartition(")")
    return before.partition("(")[2], after.split()


def _signed_in(process: int) -> float:
    """When the sshd that we come from let us in; 0 for what outlives its session, as the shells of a tmux do."""
    while process > 1:
        name, status = _status(process)
        if name in SSHD_NAMES:
            return _booted() + int(status[19]) / os.sysconf("SC_CLK_TCK")
        process = int(status[1]) if status else 0
    return 0.0


def _booted() -> float:
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))


def _remote_login() -> str:
    """The session of a sign-in from elsewhere whose variables sudo took; "" on the machine's own console.

    The kernel remembers the sign-in of each process, also in a tmux that root's shell started.
    """
    with suppress(OSError):
        number = Path(SIGN_IN).read_text(encoding="ascii").strip()
        if "REMOTE=1" in Path(SIGN_INS, number).read_text(errors="replace").splitlines():
            return f"sign-in {number}"
    return ""


def _by_key(record: str) -> bool | None:
    """sshd leaves a record of the sign-in where its administrator asked for it (ExposeAuthInfo)."""
    try:
        lines = Path(record).read_text(errors="replace").splitlines() if record else []
    except OSError:
        return None
    return any(line.startswith("publickey ") for line in lines) if lines else None
