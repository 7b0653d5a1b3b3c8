"""fail2ban runs, has read our files, and does so again after a reboot."""

from __future__ import annotations

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few, wait_only
from kmuctl.operations.harden.fail2ban.jails import FOLDER, digest, files, log, names
from kmuctl.operations.harden.units import unit_state
from kmuctl.operations.harden.written import differing, exists
from kmuctl.operations.timers import systemctl

UNIT = "fail2ban.service"
START_SECONDS = 30


def log_step(stack: Stack) -> Step:
    """Before the first `up` there is no log, and a jail without its log keeps fail2ban as a whole from starting."""
    path = log(stack)
    folder = path.rpartition("/")[0]

    def check(host: Reader) -> Drift | None:
        return None if exists(host, path) else Drift("Caddy has not written any yet: to make an empty one")

    def apply(host: Host) -> None:
        if not exists(host, folder):
            host.make_folder(folder, mode=0o700, uid=0)
        host.write(path, b"", mode=0o640)

    return Step(name="fail2ban:log", check=check, apply=apply, after=("fail2ban:packages",))


def unwatched_step() -> Step:
    """Nothing to do, only to say."""

    def check(host: Reader) -> Drift | None:
        return Drift(
            "pages are not watched: behind the proxies of [network] trusted_proxies every packet comes from them, so "
            "who tries doors has to be kept out there",
            tolerable=True,
        )

    return Step(name="fail2ban:log", check=check, apply=wait_only, after=("fail2ban:packages",))


def jails_step(stack: Stack) -> Step:
    wanted, loaded = files(stack), digest(stack)

    def check(host: Reader) -> Drift | None:
        if wrong := differing(host, wanted):
            return Drift(f"to write: {few(path.removeprefix(f'{FOLDER}/') for path in wrong)}")
        return _not_running(host) or _not_read(host, names(stack), loaded)

    def apply(host: Host) -> None:
        for path in differing(host, wanted):
            host.write(path, wanted[path])
        tested = host.run(("fail2ban-client", "-t"))
        if tested.code:
            raise StepFailed(
                f"fail2ban refuses its configuration: {tested.reason}", hint="`fail2ban-client -t` says more"
            )
        systemctl(host, "enable", UNIT)
        if host.query(("systemctl", "is-active", UNIT)).code:
            systemctl(host, "restart", UNIT)
        else:
            _reload(host)

    return Step(
        name="fail2ban:jails", check=check, apply=apply, after=("fail2ban:packages", "fail2ban:log"),
        deadline=START_SECONDS, hint="`journalctl -u fail2ban` and /var/log/fail2ban.log say more",
    )  # fmt: skip


def _not_running(host: Reader) -> Drift | None:
    state = unit_state(host, UNIT)
    words = f": {_last_words(host)}" if state == "failed" else ""
    return Drift(f"it is {state}{words}", hopeless=state == "failed") if state else None


def _not_read(host: Reader, jails: tuple[str, ...], loaded: str) -> Drift | None:
    """Each jail says itself which files it comes from."""
    silent = [name for name in jails if _loaded(host, name) != loaded]
    return Drift(f"not in force yet: {few(silent)}") if silent else None


def _loaded(host: Reader, jail: str) -> str:
    return host.query(("fail2ban-client", "get", jail, "action", "kmuctl", "loaded")).stdout.strip()


def _last_words(host: Reader) -> str:
    answer = host.query(("journalctl", "--unit", UNIT, "--lines", "3", "--output", "cat", "--no-pager"))
    return " / ".join(line.strip() for line in answer.stdout.splitlines() if line.strip()) or "it left no word"


def _reload(host: Host) -> None:
    """Bans stay. A mere reload throws away the action of a jail that had another one before (seen in 1.1)."""
    answer = host.run(("fail2ban-client", "reload", "--restart"))
    if answer.code:
        raise StepFailed(f"fail2ban did not read its files anew: {answer.reason}")
