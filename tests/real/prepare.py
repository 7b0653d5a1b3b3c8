"""`python -m tests.real.prepare FOLDER [required]`: the site of these tests, rendered as `kmuctl up` would render it.

`required` asks everybody for a second factor. The values of its secrets follow from their names: none is secret.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kmuctl.model.stack import Stack
from kmuctl.operations.render import Rendered, render
from tests.rendered.sites import Recognisable
from tests.support import stack

SITE = {
    "domain": "kmu.test",
    "name": "Trial GmbH",
    "admin": {"username": "trial", "name": "Trial", "email": "trial@kmu.test"},
    "tls": {"mode": "internal"},
    "branding": {"color": "#b4232f", "logo": "https://www.kmu.test/logo.svg"},
    "sites": {"wiki": {"upstream": "192.0.2.10:3000", "login": True}},
}


def site(mfa: str = "optional", **changes: object) -> Stack:
    return stack(**{**SITE, "sso": {"mfa": mfa}, **changes})


def rendered(mfa: str = "optional", **changes: object) -> Rendered:
    return render(site(mfa, **changes), Recognisable())


def write(folder: Path, mfa: str = "optional") -> None:
    for path, file in rendered(mfa).files.items():
        if path.startswith(("blueprints/", "authentik/mail/", "secrets/authentik-worker/")):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(file.content)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:])
