"""sshd: keys only, today's algorithms. Applied so that it undoes itself unless a new connection proves it."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from datetime import UTC, datetime
from math import inf
from typing import Any

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Entry, Host, Reader
from kmuctl.model.machine import Machine
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step, few
from kmuctl.operations.harden import undo
from kmuctl.operations.harden.openssh import SSHD, broken
from kmuctl.operations.harden.templates import fill

NAME = "ssh"
CONFIG = "/etc/ssh/sshd_config.d/00-kmuctl.conf"
RELOAD = ("systemctl", "try-reload-or-restart", "ssh.service")
"""Where sshd is started by its socket at each connection, there may be nothing to reload."""
STRONG = {
    "kex": (
        "mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256", "curve25519-sha256@libssh.org",
        "diffie-hellman-group18-sha512", "diffie-hellman-group16-sha512",
    ),
    "cipher": (
        "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
        "aes256-ctr", "aes192-ctr", "aes128-ctr",
    ),
    "mac": ("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"),
}  # fmt: skip
"""By OpenSSH's own names for the lists, best first."""
HOST_KEYS = {
    "ed25519": ("ssh-ed25519",),
    "rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""ECDSA on NIST's curves is not among them."""
RSA_BITS = 3072
ROOT_LOGIN = ("no", "prohibit-password", "without-password", "forced-commands-only")
"""Any of these is fine; sshd -T calls the second by its old name."""
BY_HAND = frozenset({"permitrootlogin", "hostkey"})
"""Settings that are compared in a way of their own."""
OPTION = re.compile(r'([\w-]+)(?:="((?:\\.|[^"\\])*)")?')
"""Of a line of authorized_keys; a value may hold anything."""
DAY = 86400
OTHERS = ("root", "nobody")
"""Whom `Match` blocks may be about, besides the admin: the one that everybody attacks, and one like all others."""


def ssh(stack: Stack, machine: Machine) -> Iterator[Step]:
    minutes = stack.site.harden.undo_minutes

    def check(host: Reader) -> Drift | None:
        if drift := undo.cut_off(host, NAME):
            return drift
        found = differences(host, settings(host))
        if wrong := common(found):
            return Drift(f"to set: {few(wrong, most=5)}{_forgotten_keys(host, wrong)}{undo.last_time(host, NAME)}")
        return _exceptions(found)

    def apply(host: Host) -> None:
        _require_key(host)
        text = config(host)
        change = undo.Guarded(name=NAME, files=(CONFIG,), restore=(RELOAD,), minutes=minutes)
        undo.carry_out(host, change, lambda: _put(host, text), lambda: _reload(host))

    yield Step(name="ssh:settings", check=check, apply=apply)


def config(host: Reader) -> bytes:
    """The file for the sshd that is there."""
    files = host_key_files(host)
    known: dict[str, Any] = {
        "root_login": "prohibit-password" if has_key(host, "root") else "no",
        "kex": algorithms(host, "kex"),
        "ciphers": algorithms(host, "cipher"),
        "macs": algorithms(host, "mac"),
        "host_keys": [name for kind in files for name in HOST_KEYS[kind]],
        "host_key_files": list(files.values()),
    }
    return fill("sshd.conf", **known).encode()


def settings(host: Reader) -> dict[str, list[str]]:
    """What the file says, as sshd -T prints it: names in small letters, each with its values."""
    found: dict[str, list[str]] = {}
    for line in config(host).decode().splitlines():
        if line and not line.startswith("#"):
            name, value = line.split(" ", 1)
            found.setdefault(name.lower(), []).append(value)
    return found


def algorithms(host: Reader, kind: str) -> list[str]:
    """The strong ones that this OpenSSH knows."""
    answer = host.query(("ssh", "-Q", kind))
    known = answer.stdout.split()
    found = [name for name in STRONG[kind] if name in known]
    if not found:
        raise StepFailed(f"OpenSSH names no strong {kind}: {answer.reason}", hint="`ssh -V` shows its version")
    return found


def host_key_files(host: Reader) -> dict[str, str]:
    """The keys that this machine has and that may be shown, by kind."""
    present = {kind: f"/etc/ssh/ssh_host_{kind}_key" for kind in HOST_KEYS}
    facts = host.facts(present.values())
    found = {kind: path for kind, path in present.items() if path in facts}
    if "rsa" in found and _bits(host, found["rsa"]) < RSA_BITS:
        del found["rsa"]
    if not found:
        raise StepFailed("this machine has no strong host key", hint="`ssh-keygen -A` makes what is missing")
    return found


def _bits(host: Reader, path: str) -> int:
    """ssh-keygen prints bits, fingerprint, comment, kind."""
    said = host.query(("ssh-keygen", "-l", "-f", f"{path}.pub")).stdout.split()
    return int(said[0]) if said else 0


def differences(host: Reader, wanted: dict[str, list[str]]) -> dict[str, list[str]]:
    """By user, the settings that sshd would not use as wished: `Match` blocks tell users apart."""
    users = dict.fromkeys((host.entry().user, *OTHERS))
    return {user: _differing(effective_settings(host, user), wanted) for user in users}


def common(found: dict[str, list[str]]) -> list[str]:
    """What is wrong for everybody."""
    first, *rest = found.values()
    return [name for name in first if all(name in names for names in rest)]


def _exceptions(found: dict[str, list[str]]) -> Drift | None:
    """An admin may have a reason; whoever has none should know."""
    named = [f"{few(names, most=5)} for `{user}`" for user, names in found.items() if names]
    cause = f"sshd has exceptions (`grep -rn Match /etc/ssh`): {'; '.join(named)}"
    return Drift(cause, tolerable=True) if named else None


def _differing(effective: dict[str, list[str]], wanted: dict[str, list[str]]) -> list[str]:
    wrong = [
        name
        for name, values in wanted.items()
        if name not in BY_HAND and effective.get(name, []) != [_as_shown(value) for value in values]
    ]
    if effective.get("permitrootlogin", [""])[0] not in ROOT_LOGIN:
        wrong.append("permitrootlogin")
    if set(effective.get("hostkey", [])) != set(wanted["hostkey"]):
        wrong.append("hostkey")
    return wrong


def _as_shown(value: str) -> str:
    return value.lower() if value in ("VERBOSE",) else value


def effective_settings(host: Reader, user: str) -> dict[str, list[str]]:
    """As sshd reads all of its files, with what they say about one user."""
    answer = host.query((SSHD, "-T", "-C", f"user={user},{_connection(host.entry())}"))
    if answer.code:
        raise broken(answer)
    found: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value.lower() if name == "loglevel" else value)
    return found


def _connection(entry: Entry) -> str:
    """All that a `Match` may ask of one; without its words sshd refuses to judge."""
    client = entry.client.partition("%")[0] or "127.0.0.1"
    words = entry.session.split()
    address = words[2].partition("%")[0] if len(words) == 4 else "127.0.0.1"
    return f"host={client},addr={client},laddr={address},lport={entry.ssh_port or 22}"


def _forgotten_keys(host: Reader, wrong: list[str]) -> str:
    """Said before it is done: a client that knows only such a key asks its user about another one."""
    if "hostkey" not in wrong and "hostkeyalgorithms" not in wrong:
        return ""
    shown = effective_settings(host, host.entry().user).get("hostkey", [])
    dropped = sorted(re.sub(r".*ssh_host_(\w+)_key", r"\1", path).upper() for path in shown)
    kept = {kind.upper() for kind in host_key_files(host)}
    names = [name for name in dropped if name not in kept]
    if not names:
        return ""
    old = " or ".join(names)
    return (
        f"; a client that knows only the {old} key of this machine will ask, or refuse, as if it were another machine"
    )


def _put(host: Host, text: bytes) -> None:
    """Into the file, and looked at by sshd."""
    host.write(CONFIG, text, mode=0o600)
    answer = host.run((SSHD, "-t"))
    if answer.code:
        raise broken(answer)
    if left := common(differences(host, settings(host))):
        raise StepFailed(
            f"another file of sshd says otherwise: {few(left, most=5)}",
            hint="`Include /etc/ssh/sshd_config.d/*.conf` belongs at the top of /etc/ssh/sshd_config, and no `Match` "
            "block may set them for everybody",
        )


def _reload(host: Host) -> None:
    answer = host.run(RELOAD)
    if answer.code:
        hint = "`journalctl --unit ssh.service --lines 20` says why; mend that, then run this again"
        raise StepFailed(f"sshd cannot be reloaded: {answer.reason}", hint=hint)


def _require_key(host: Reader) -> None:
    """Passwords may go only when somebody can come in without."""
    entry = host.entry()
    if entry.by_key or has_key(host, entry.user):
        return
    raise StepFailed(
        f"`{entry.user}` has no key on this machine: without passwords nobody could sign in",
        hint=f"on your own computer: `ssh-copy-id {entry.user}@ADDRESS`, then run this again",
    )


def has_key(host: Reader, user: str) -> bool:
    """Whether the user has a key to sign in with that opens a shell."""
    now = host.now()
    return any(opens_shell(line, now) for path in _key_files(host, user) for line in _lines(host, path))


def _lines(host: Reader, path: str) -> list[str]:
    return (host.read(path) or b"").decode(errors="replace").splitlines()


def _key_files(host: Reader, user: str) -> list[str]:
    """sshd's AuthorizedKeysFile: %h and %u are filled in, other paths start at the home folder."""
    account = host.query(("getent", "passwd", user)).stdout.split(":")
    if len(account) < 7:
        return []
    patterns = " ".join(effective_settings(host, user).get("authorizedkeysfile", [])).split()
    filled = (text.replace("%h", account[5]).replace("%u", user).replace("%%", "%") for text in patterns)
    return [path if path.startswith("/") else f"{account[5]}/{path}" for path in filled if path != "none"]


def opens_shell(line: str, now: float) -> bool:
    """A line of authorized_keys with a whole key that counts for longer than a day.

    No command is forced on it, as cloud images do with root's, and it is no authority's: that opens nothing itself.
    """
    line = line.strip()
    found = re.search(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?:\s|$)", line)
    if not found or line.startswith("#"):
        return False
    options = {name.lower(): value for name, value in OPTION.findall(line[: found.start(1)])}
    if {"command", "cert-authority"} & options.keys() or _ends(options.get("expiry-time", "")) < now + DAY:
        return False
    try:
        return _strings(b64decode(found[2], validate=True))[:1] == [found[1].encode()]
    except Base64Error:
        return False


def _ends(moment: str) -> float:
    """YYYYMMDD[HHMM[SS]][Z]; the zone matters less than the day that is left."""
    digits = moment.rstrip("Zz")
    try:
        return datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0 if digits else inf


def _strings(blob: bytes) -> list[bytes]:
    """What a key consists of, each with its length before it (RFC 4251); [] when it is not whole."""
    found: list[bytes] = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            return []
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found if len(found) > 1 else []
