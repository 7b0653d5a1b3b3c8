"""Meetings: who may open a room, who may join, and what becomes of a new password. Prosody is the real one.

It lacks Jitsi's own plugins: what a token opens is not shown here, only that nothing opens without one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.bosh_client import BoshClient, Refused
from tests.lab.stack import HERE, LabSite, health, ids
from tests.lab.turn_client import TurnClient

pytestmark = pytest.mark.lab

GUESTS, ACCOUNTS, PARTS = "guest.meet.jitsi", "meet.jitsi", "auth.meet.jitsi"


@pytest.fixture
def focus(site: LabSite) -> Iterator[BoshClient]:
    """Opens rooms, as jicofo does for people with an account."""
    with BoshClient(site, PARTS) as client:
        client.sign_in("focus", site.secrets()["jitsi_jicofo_password"])
        yield client


def test_a_guest_opens_no_room(site: LabSite) -> None:
    """K76, K77: refused by Prosody itself, whatever the page in the browser shows."""
    with BoshClient(site, GUESTS) as guest:
        guest.sign_in()
        with pytest.raises(Refused, match=r"^not-allowed$"):
            guest.enter("a-room-of-nobody")


def test_a_guest_joins_what_is_open(site: LabSite, focus: BoshClient) -> None:
    """K76."""
    focus.enter("a-room-of-somebody")
    with BoshClient(site, GUESTS) as guest:
        guest.sign_in()
        guest.enter("a-room-of-somebody")


@pytest.mark.parametrize(("name", "password"), [("", ""), ("trial", "guessed"), ("trial", "")])
def test_nobody_is_an_account_without_a_token(site: LabSite, name: str, password: str) -> None:
    """K77, U16: the domain whose people may open rooms lets in neither a nameless one nor one with a password."""
    with BoshClient(site, ACCOUNTS) as client:
        assert "ANONYMOUS" not in client.mechanisms
        with pytest.raises(Refused):
            client.sign_in(name, password)


def test_a_guest_is_given_a_relay_that_takes_them(site: LabSite) -> None:
    """K79, K108, K109: Prosody's credential is good at coturn, for as long as it says."""
    with BoshClient(site, GUESTS) as guest:
        guest.sign_in()
        found = guest.relays()
    name = site.stack.site.fqdn("turn")
    assert {(one["type"], one["host"], one["port"], one["transport"]) for one in found} == {
        ("turn", name, "3478", "udp"), ("turn", name, "3478", "tcp"), ("turns", name, "5349", "tcp"),
    }  # fmt: skip
    with TurnClient((HERE, 3478), found[0]["username"], found[0]["password"]) as turn:
        turn.allocate()


def test_no_meeting_without_a_bridge(site: LabSite) -> None:
    """K10: jicofo is healthy because a bridge has signed in."""
    assert health("jitsi-jicofo") == health("jitsi-jvb") == "healthy"


def test_new_passwords_reach_both_sides(site: LabSite) -> None:
    """K42, K108: the old ones are refused then, and the parts are in again."""
    path = site.folder / "secrets.env"
    old = {name: site.secrets()[name] for name in ("jitsi_jicofo_password", "jitsi_jvb_password")}
    text = path.read_text()
    for name, value in old.items():
        text = text.replace(f"{name.upper()}={value}", f"{name.upper()}=changed-{value}")
    path.write_text(text)
    done = {step["step"] for step in site.up()["steps"] if step["state"] == "change"}
    assert {"jitsi:accounts", "container:jitsi-prosody", "container:jitsi-jicofo", "container:jitsi-jvb"} <= done
    for user, name in (("focus", "jitsi_jicofo_password"), ("jvb", "jitsi_jvb_password")):
        with BoshClient(site, PARTS) as client:
            client.sign_in(user, f"changed-{old[name]}")
        with BoshClient(site, PARTS) as client, pytest.raises(Refused, match=r"^not-authorized$"):
            client.sign_in(user, old[name])
    assert site.plan() == {}


def test_an_old_account_of_a_backup_is_put_right_while_prosody_runs(site: LabSite) -> None:
    """K42: no restart: Prosody reads an account at each sign-in."""
    account = site.folder / "data/jitsi/prosody/data/auth%2emeet%2ejitsi/accounts/jvb.dat"
    kept, before = account.read_text(), ids()
    account.write_text((account.parent / "focus.dat").read_text())
    with BoshClient(site, PARTS) as client, pytest.raises(Refused, match=r"^not-authorized$"):
        client.sign_in("jvb", site.secrets()["jitsi_jvb_password"])
    assert set(site.plan()) == {"jitsi:accounts"}
    site.up()
    with BoshClient(site, PARTS) as client:
        client.sign_in("jvb", site.secrets()["jitsi_jvb_password"])
    assert ids() == before
    assert account.read_text() != kept
    assert account.stat().st_uid == 1000
