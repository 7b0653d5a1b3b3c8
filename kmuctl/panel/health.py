"""The health check of both programs: `python -m kmuctl.panel.health URL` succeeds when URL answers with 200."""

from __future__ import annotations

import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

PATIENCE = 5.0  # seconds; the programs themselves wait 3 for Authentik


def check(url: str) -> tuple[int, str]:
    """Status 0 means that there was no answer at all; the text says why."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as response:
            return response.status, response.read(4096).decode(errors="replace")
    except HTTPError as error:
        with error:
            return error.code, error.read(4096).decode(errors="replace")
    except (OSError, HTTPException, ValueError) as error:
        return 0, f"no answer from {url}: {error}"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m kmuctl.panel.health URL\n")
        return 2
    status, body = check(arguments[0])
    if status == 200:
        return 0
    sys.stdout.write(body.strip() + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
