"""`occ` inside Nextcloud's container: each call is a start of PHP, a third of a second and more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kmuctl.model.errors import HostError, StepFailed
from kmuctl.model.host import Answer, Call, Host, Reader
from kmuctl.model.secrets import Secret
from kmuctl.model.stack import PROJECT
from kmuctl.model.step import Drift, unseen
from kmuctl.operations.containers import serving

CONTAINER, PORT = "nextcloud", 80
AS_ITS_USER = ("setpriv", "--reuid=33", "--regid=33", "--clear-groups")
OCC = (*AS_ITS_USER, "php", "/var/www/html/occ")
PATIENCE, TIMED_OUT = ("timeout", "600"), 124
"""By themselves occ and PHP wait for a download, a lock or the database for ever."""
FROM_INSIDE = {"Host": "localhost", "OCS-APIRequest": "true"}
"""The one name that is always trusted, whatever the configuration; and what stands for a token against forged forms."""
SERVER_ERROR = 500
HINT = "`kmuctl logs nextcloud` and `kmuctl occ status` show more; the next `kmuctl up` goes on from here"


def occ(*words: str) -> tuple[str, ...]:
    """The command line; nothing is asked."""
    return (*OCC, *words, "-n")


def ask(host: Reader, command: Sequence[str]) -> Answer:
    """Run a command in the container that only reads."""
    return host.engine.ask(PROJECT, CONTAINER, (*PATIENCE, *command))


def execute(host: Host, command: Sequence[str], stdin: bytes = b"") -> Answer:
    return host.engine.execute(PROJECT, CONTAINER, (*PATIENCE, *command), stdin)


def look(host: Reader, command: Sequence[str]) -> str:
    return _output(command, ask(host, command))


def change(host: Host, command: Sequence[str], stdin: bytes = b"") -> None:
    _output(command, execute(host, command, stdin))


def json_of(text: str) -> Any:
    """The JSON in what a command printed: one line, maybe after PHP's complaints.

    An unreadable configuration ends with code 0 and without JSON.
    """
    lines = [line for line in text.splitlines() if line[:1] in ("{", "[")]
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        said = next((line for line in text.splitlines() if line.strip() and line[:1] not in ("{", "[")), "no JSON")
        raise StepFailed(f"Nextcloud's occ says: {said[:200]}", hint=HINT) from None


def reason(answer: Answer) -> str:
    """occ complains on both streams."""
    if answer.code == TIMED_OUT:
        return "it did not end within ten minutes"
    lines = [line.strip() for line in (answer.stderr + "\n" + answer.stdout).splitlines() if line.strip()]
    return lines[-1][:300] if lines and lines[-1][:1] not in ("{", "[") else answer.reason


def _output(command: Sequence[str], answer: Answer) -> str:
    if answer.code:
        raise refusal("occ " + next((word for word in command if ":" in word and "/" not in word), "..."), answer)
    return answer.stdout


def refusal(what: str, answer: Answer) -> StepFailed:
    return StepFailed(f"Nextcloud's `{what}` failed (exit code {answer.code}): {reason(answer)}", hint=HINT)


def call(path: str, password: Secret | None = None, user: str = "") -> Call:
    sign_in = (user, password) if password else None
    return Call(container=CONTAINER, port=PORT, path=path, headers=FROM_INSIDE, user=sign_in)


def status(host: Reader) -> dict[str, Any] | Drift:
    """What Nextcloud says of itself, or why it says nothing yet."""
    if not serving(host, CONTAINER):
        return unseen("Nextcloud")
    try:
        reply = host.http.ask(call("/status.php"))
    except HostError:
        return unseen("Nextcloud")  # it is just being restarted
    if reply.status < 300:
        found: dict[str, Any] = reply.json("maintenance", "needsDbUpgrade", "versionstring")
        return found
    said = f"Nextcloud's status.php answers {reply.status}: {reply.said}"
    if reply.status >= SERVER_ERROR:
        return Drift(said, unknown=True)  # its health check will say why
    raise StepFailed(said, hint=HINT)


def not_serving(host: Reader) -> Drift | None:
    """Why nothing can be looked at now."""
    state = status(host)
    if isinstance(state, Drift):
        return state
    if state["maintenance"] or state["needsDbUpgrade"]:
        return Drift("can be seen after Nextcloud's maintenance", unknown=True)
    return None
