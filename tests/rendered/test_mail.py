"""Stalwart's container and start file; its plan has tests of its own. Rows K12, K40, K82, K83."""

from __future__ import annotations

import json

from tests.rendered.sites import project


def test_stalwart_runs_as_its_image_expects() -> None:
    """K82: a pinned 0.16, its own user, state and configuration where 0.16 has them."""
    definition, mounts = project().containers["stalwart"], project().mounts("stalwart")
    assert definition["image"].startswith("stalwartlabs/stalwart:v0.16.")
    assert definition["user"] == "2000:2000"
    assert ("./stalwart/config.json", "/etc/stalwart/config.json", "ro") in mounts
    assert ("../data/stalwart/data", "/var/lib/stalwart", "rw") in mounts


def test_mail_ports_without_cleartext_reading() -> None:
    """K83: 25 for other servers, 465 and 587 to send, 993 to read, 4190 for filters; no 110, 143 or 995."""
    assert sorted(project().containers["stalwart"]["ports"]) == [
        f"0.0.0.0:{port}:{port}/tcp" for port in (25, 4190, 465, 587, 993)
    ]


def test_the_start_file_names_the_database_and_a_secret_file() -> None:
    """K40: since 0.16 nothing but the data store stands in a file."""
    config = json.loads(project().text("stalwart/config.json"))
    assert config["@type"] == "PostgreSql"
    assert (config["host"], config["database"], config["authUsername"]) == ("postgres", "stalwart", "stalwart")
    assert config["authSecret"] == {"@type": "File", "filePath": "/run/secrets/stalwart_db_password"}


def test_no_file_and_no_variable_opens_a_back_door() -> None:
    """Recovery credentials let in whoever knows them for as long as they are set (upstream/stalwart.md 10)."""
    assert not [path for path, file in project().files.items() if b"RECOVERY_ADMIN" in file.content]


def test_services_send_inside_and_under_the_certificates_name() -> None:
    """The senders reach `mail.` on a network without a way out; everybody else has no business there."""
    senders = {"authentik-worker", "nextcloud", "nextcloud-cron", "synapse"}
    assert project().members("mail") == {"stalwart", *senders}
    assert project().compose["networks"]["mail"]["internal"] is True
    assert "mail" not in project("without stalwart").compose["networks"]
