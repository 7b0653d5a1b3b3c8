"""Run the panel: `python -m kmuctl.panel`."""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from kmuctl.panel.app import create
from kmuctl.panel.settings import SettingsError, load


class Discreet(logging.Filter):
    """Keeps query strings, which may hold tokens, and the health checks that succeed out of the access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        client, method, address, version, status = record.args
        path = str(address).partition("?")[0]
        record.args = (client, method, path, version, status)
        return (path, status) != ("/healthz", 200)


def log_settings() -> dict[str, Any]:
    settings = copy.deepcopy(LOGGING_CONFIG)
    settings["filters"] = {"discreet": {"()": Discreet}}
    settings["handlers"]["access"]["filters"] = ["discreet"]
    return settings


def main(environment: Mapping[str, str]) -> int:
    try:
        settings = load(environment)
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    uvicorn.run(
        create(settings),
        host="0.0.0.0",  # noqa: S104 - inside the container; nothing is published
        port=8000,
        proxy_headers=False,
        server_header=False,
        ws="none",
        log_config=log_settings(),
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
