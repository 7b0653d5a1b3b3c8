"""Jitsi's image makes the accounts of its own parts, but never changes one: here a new password reaches Prosody."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from hashlib import new as digest
from hashlib import pbkdf2_hmac

from kmuctl.model.errors import StepFailed
from kmuctl.model.host import Host, Reader
from kmuctl.model.secrets import Secret, Secrets
from kmuctl.model.stack import Stack
from kmuctl.model.step import Drift, Step

ACCOUNTS = {"focus": "jitsi_jicofo_password", "jvb": "jitsi_jvb_password"}
FOLDER = "prosody/data/auth%2emeet%2ejitsi/accounts"
"""Prosody's own spelling of `auth.meet.jitsi`."""
FIELD = r'\["{}"\] = "?([^";]+)"?;'
HASHES = {40: "sha1", 64: "sha256"}
"""By the length of a key in hexadecimal digits: Prosody's option `password_hash`."""


@dataclass(frozen=True, slots=True)
class Account:
    """What Prosody keeps of an account: SCRAM keys (RFC 5802), from which no password can be read."""

    text: str

    def accepts(self, password: Secret) -> bool:
        return self._keys(password) == (self._field("stored_key"), self._field("server_key"))

    def given(self, password: Secret) -> Account:
        """The same account with another password: its salt and all that else is known of it stay."""
        text = self.text
        for name, key in zip(("stored_key", "server_key"), self._keys(password), strict=True):
            text = text.replace(self._field(name), key)
        return Account(text)

    def _keys(self, password: Secret) -> tuple[str, str]:
        kind = HASHES[len(self._field("stored_key"))]
        salt, rounds = self._field("salt").encode(), int(self._field("iteration_count"))
        salted = pbkdf2_hmac(kind, password.reveal().encode(), salt, rounds)
        client = hmac.digest(salted, b"Client Key", kind)
        return digest(kind, client).hexdigest(), hmac.digest(salted, b"Server Key", kind).hex()

    def _field(self, name: str) -> str:
        found = re.search(FIELD.format(name), self.text)
        if found is None:
            raise ValueError(f"no {name}")
        return found[1]


def accounts_step(stack: Stack, secrets: Secrets) -> Step:
    """Prosody has no other password of jicofo or the bridge than the secrets file.

    Before the containers: with the old one jicofo would never become healthy. Prosody reads an account at each
    sign-in, so a running one takes it at once, and one that is missing is made when the container starts.
    """
    files = {stack.data("jitsi", f"{FOLDER}/{name}.dat"): secrets[secret] for name, secret in ACCOUNTS.items()}
    uid = stack["jitsi"].container("jitsi-prosody").uid

    def wrong(host: Reader) -> dict[str, Account]:
        present = {path: Account(content.decode()) for path in files if (content := host.read(path))}
        return {path: account for path, account in present.items() if not _accepts(path, account, files[path])}

    def check(host: Reader) -> Drift | None:
        names = sorted(path.rsplit("/", 1)[1].removesuffix(".dat") for path in wrong(host))
        return Drift(f"the password of {' and '.join(names)} differs from the secrets file") if names else None

    def apply(host: Host) -> None:
        for path, account in wrong(host).items():
            host.write(path, account.given(files[path]).text.encode(), mode=0o640, uid=uid)

    return Step(name="jitsi:accounts", check=check, apply=apply, after=("secrets", "data:jitsi"))


def _accepts(path: str, account: Account, password: Secret) -> bool:
    try:
        return account.accepts(password)
    except (ValueError, LookupError) as error:
        raise StepFailed(
            f"`{path}` is not an account as Prosody keeps it: {error}",
            hint="delete it and restart jitsi-prosody, which makes a new one",
        ) from None
