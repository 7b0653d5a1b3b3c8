"""Packages, as apt and dpkg know them. Nothing asks: the admin's own versions of configuration files stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Answer, Host, Reader
from kmuctl.model.step import Drift, Step, few, wait_only

QUIET = ("env", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "APT_LISTCHANGES_FRONTEND=none")
"""needrestart would restart services in the middle of our work, Docker among them."""
NO_RESTART = "NEEDRESTART_SUSPEND=1"
LOCK_SECONDS, DAY = 600, 86400
APT_GET = (
    *QUIET, NO_RESTART, "apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}",
    "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
)  # fmt: skip
UPDATE = (*APT_GET, "-o", "APT::Update::Error-Mode=any", "update")
"""Without the mode, an update that reached no server at all would end well."""
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
STAMP = "/var/lib/kmuctl/apt-updated"
BROKEN = ("half-configured", "half-installed", "unpacked", "triggers-awaited", "triggers-pending")
READY = ("cloud-init", "apt:free", "apt:whole")
"""What every step that installs something comes after."""


def ready_steps() -> Iterator[Step]:
    yield Step(
        name="apt:free", check=_busy, apply=wait_only, after=("cloud-init",), deadline=LOCK_SECONDS,
        hint="wait for it, or look what it does: `journalctl -b -u apt-daily-upgrade -u cloud-init`",
    )  # fmt: skip
    yield Step(name="apt:whole", check=_half_done, apply=_finish, after=("apt:free",), hint="`dpkg --configure -a`")


def _busy(host: Reader) -> Drift | None:
    """Asked of the kernel: whoever tries the lock to see would be in the way."""
    numbers = host.query(("stat", "--format=%i", *LOCKS)).stdout.split()
    held = re.findall(r"POSIX +\w+ +\w+ +(\d+) +\S+:(\d+) ", (host.read("/proc/locks") or b"").decode())
    for process in dict.fromkeys(process for process, inode in held if inode in numbers):
        if _has_open(host, process):
            name = (host.read(f"/proc/{process}/comm") or b"another program").decode().strip()
            return Drift(f"`{name}` (process {process}) is at work with packages")
    return None


def _has_open(host: Reader, process: str) -> bool:
    """A number counts on one file system only, and on btrfs and overlays the kernel's lists name another than stat."""
    names = [word for path in LOCKS for word in ("-o", "-lname", path)]
    return bool(host.query(("find", f"/proc/{process}/fd", *names[1:])).stdout.strip())


def _half_done(host: Reader) -> Drift | None:
    broken = [name for name, status in statuses(host).items() if status in BROKEN]
    updates = host.tree("/var/lib/dpkg/updates")
    if broken or updates:
        return Drift(f"an installation was cut off{': ' if broken else ''}{few(broken)}")
    return None


def _finish(host: Host) -> None:
    answer = host.run((*QUIET, NO_RESTART, "dpkg", "--force-confdef", "--force-confold", "--configure", "-a"))
    if answer.code:
        raise failure(host, "dpkg --configure -a", answer)
    apt_get(host, "--fix-broken", "install")


def statuses(host: Reader, packages: Iterable[str] = ()) -> dict[str, str]:
    """dpkg's status by package, of all or of the named ones; those that it never heard of are absent."""
    answer = host.query(("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages))
    return dict(line.split() for line in answer.stdout.splitlines() if len(line.split()) == 2)


def missing(host: Reader, packages: Sequence[str]) -> list[str]:
    present = statuses(host, packages)
    return [name for name in packages if present.get(name) != "installed"]


def packages_step(name: str, packages: Sequence[str], *, after: tuple[str, ...] = ()) -> Step:
    """These packages are installed."""

    def check(host: Reader) -> Drift | None:
        wanted = missing(host, packages)
        return Drift(f"to install: {few(wanted, most=6)}") if wanted else None

    def apply(host: Host) -> None:
        install(host, missing(host, packages))

    return Step(name=name, check=check, apply=apply, after=(*READY, *after))


def install(host: Host, packages: Sequence[str]) -> None:
    """Without what they merely recommend: each of ours is named."""
    if not packages:
        return
    if stale(host):
        update(host)
    apt_get(host, "--no-install-recommends", "install", *packages)


def update(host: Host) -> None:
    answer = host.run(UPDATE)
    if answer.code:
        raise StepFailed(
            f"the package lists cannot be fetched: {_complaint(answer)}",
            hint="mend the network or the source in /etc/apt/sources.list.d that is named, and try `apt-get update`",
        )
    host.write(STAMP, f"{host.now():.0f}\n".encode())


def stale(host: Reader) -> bool:
    """Lists older than a day, or than a source that was added."""
    paths = ["/etc/apt/sources.list", *(f"/etc/apt/sources.list.d/{name}" for name in _sources(host))]
    facts = host.facts([STAMP, *paths])
    stamp = facts.pop(STAMP, None)
    if stamp is None or host.now() - stamp.written > DAY:
        return True
    return any(fact.written > stamp.written for fact in facts.values())


def _sources(host: Reader) -> list[str]:
    return host.tree("/etc/apt/sources.list.d")


def apt_get(host: Host, *words: str) -> None:
    answer = host.run((*APT_GET, *words))
    if answer.code:
        raise failure(host, f"apt-get {words[0] if len(words) == 1 else ' '.join(words[-3:])}", answer)


def failure(host: Reader, command: str, answer: Answer) -> StepFailed:
    """With the packages that hang, as dpkg knows them."""
    broken = [name for name, status in statuses(host).items() if status in BROKEN]
    where = f" at {few(broken)}" if broken else ""
    return StepFailed(
        f"`{command}` failed{where}: {_complaint(answer)}",
        hint="`apt-get install --fix-broken` on the server says more; then run `kmuctl harden` again",
    )


def _complaint(answer: Answer) -> str:
    """apt's own errors; the first is the cause, the last only says that there were some."""
    errors = [line.removeprefix("E: ") for line in answer.stderr.splitlines() if line.startswith("E: ")]
    return errors[0] if errors else answer.reason
