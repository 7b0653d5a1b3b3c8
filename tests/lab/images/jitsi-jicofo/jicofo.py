"""DOUBLE of Jicofo: healthy when it is logged in and at least one bridge is in the brewery room."""

import asyncio
import os
from pathlib import Path

from environment import BOOLEANS, check_config_folder, check_environment, check_run_folder, fatal
from xmpp import Member, log, serve_health, setting

OFF = {"", "0", "f", "F", "false", "FALSE", "False"}
assert OFF < BOOLEANS


def health_of(member: Member, enabled: bool) -> tuple[int, str]:
    if not enabled:
        return 404, "health checks are off: set JICOFO_ENABLE_HEALTH_CHECKS=1"
    if not member.joined:
        return 500, "not logged in to XMPP"
    return (200, "OK") if member.bridges else (500, "No operational bridges available")


async def run(password: str) -> None:
    member = Member("focus", password, "focus", is_bridge=False)
    enabled = setting("JICOFO_ENABLE_HEALTH_CHECKS", "") not in OFF

    async def health() -> tuple[int, str]:
        return health_of(member, enabled)

    address = "127.0.0.1" if setting("JICOFO_ENABLE_REST", "") in OFF else "0.0.0.0"
    await serve_health(address, 8888, health)
    await member.keep_connected()


def main() -> None:
    log("DOUBLE of Jicofo, not the real program")
    check_environment(Path(__file__).parent / "variables.txt")
    check_run_folder()
    check_config_folder(r"custom-jicofo\.conf")
    password = os.environ.get("JICOFO_AUTH_PASSWORD") or fatal("JICOFO_AUTH_PASSWORD must be set")
    asyncio.run(run(password))


if __name__ == "__main__":
    main()
