"""Stalwart's container and start file; its plan has tests of its own. Rows K12, K40, K82, K83.

Without it, what the services send themselves goes through the relay: L20.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.rendered.sites import SITES, Project, project, project_of, secret_value

RELAY_ALONE = SITES["relay alone"]


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


def relay_alone(port: int) -> Project:
    return project_of(**RELAY_ALONE | {"mail": {"relay": RELAY_ALONE["mail"]["relay"] | {"port": port}}})


def of_authentik(present: Project, container: str = "authentik-worker") -> dict[str, str]:
    environment = present.containers[container]["environment"]
    found = {key.removeprefix("AUTHENTIK_EMAIL__"): value for key, value in environment.items()}
    return {key: value for key, value in found.items() if not key.startswith("AUTHENTIK_")}


def of_nextcloud(present: Project) -> dict[str, str]:
    lines = present.text("nextcloud/config/zz-kmu.config.php").splitlines()
    pairs = (line.strip().rstrip(",").split(" => ") for line in lines if "'mail_" in line)
    return {key.strip("'").removeprefix("mail_"): value.strip("'") for key, value in pairs}


def of_synapse(present: Project) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(present.text("synapse/mail.yaml"))
    return found


@pytest.mark.parametrize(
    ("port", "authentik", "nextcloud", "synapse"),
    [(587, "TLS", "", "require_transport_security"), (465, "SSL", "ssl", "force_tls")],
)
def test_without_a_mail_server_notices_go_through_the_relay(
    port: int, authentik: str, nextcloud: str, synapse: str
) -> None:
    """L20: each in its own words; never without TLS where the program can insist on it."""
    present = relay_alone(port)
    assert of_authentik(present) == {
        "HOST": "smtp.provider.example", "PORT": str(port), f"USE_{authentik}": "true", "USERNAME": "acme",
        "FROM": "noreply@acme.example", "PASSWORD": "file:///run/secrets/mail_relay_password",
    }  # fmt: skip
    assert of_nextcloud(present) == {
        "smtpmode": "smtp", "smtphost": "smtp.provider.example", "smtpport": str(port), "smtpsecure": nextcloud,
        "smtpauth": "true", "smtpname": "acme", "from_address": "noreply", "domain": "acme.example",
        "smtppassword": "trim(file_get_contents('/run/secrets/mail_relay_password'))",
    }  # fmt: skip
    mail = of_synapse(present)["email"]
    assert (mail["smtp_host"], mail["smtp_port"], mail["smtp_user"]) == ("smtp.provider.example", port, "acme")
    assert (mail[synapse], mail["smtp_pass"]) == (True, secret_value("mail_relay_password"))
    assert mail["notif_from"] == "ACME GmbH <noreply@acme.example>"


def test_the_relays_password_is_with_those_who_send() -> None:
    """L20: Authentik's server, which strangers talk to, sends nothing itself."""
    password = secret_value("mail_relay_password").encode()
    holding = {path for path, file in project("relay alone").files.items() if password in file.content}
    senders = ("authentik-worker", "nextcloud", "nextcloud-cron")
    assert holding == {*(f"secrets/{name}/mail_relay_password" for name in senders), "synapse/mail.yaml"}
    with_stalwart = {path for path, file in project("relay").files.items() if password in file.content}
    assert with_stalwart == {"secrets/stalwart/mail_relay_password"}


def test_senders_reach_the_relay() -> None:
    """On a network with a way out."""
    outside = project("relay alone").compose["networks"]["proxy"]
    assert not outside.get("internal")
    assert project("relay alone").members("proxy") >= {"authentik-worker", "nextcloud", "nextcloud-cron", "synapse"}


def test_without_mail_and_relay_nobody_is_told_to_send() -> None:
    present = project("without stalwart")
    assert (of_authentik(present), of_nextcloud(present), of_synapse(present)) == ({}, {}, {})
