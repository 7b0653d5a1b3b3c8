"""Stalwart: set up behind closed doors, its settings as the plan says, mail stopped while its directory is away."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kmuctl.model.secrets import Secret
from kmuctl.model.step import State
from kmuctl.operations.stalwart.plan import holds
from kmuctl.operations.stalwart.registry import Registry
from kmuctl.operations.stalwart.setup import closed_project
from tests.fakes import FakeHost, Script
from tests.operations.scenes import FOLDER, bring, changed, empty, go_up, go_up_only, plan, running, states, steps

KEY = f"{FOLDER}/state/stalwart.key"
RELAY = {"relay": {"host": "smtp.acme.example", "port": 587, "username": "acme"}}


def registry(host: FakeHost) -> Registry:
    return Registry(Secret(host.text(KEY)))


def writes(host: FakeHost) -> list[str]:
    return [line.split()[-1] for line in host.http.sent if "/jmap" in line]


def environment(host: FakeHost) -> dict[str, str]:
    return dict(host.engine.made["stalwart"].definition["environment"])


def test_the_first_up_leaves_every_setting_as_planned_and_no_recovery_credentials() -> None:
    """K12 K44 K48 K69 K105 D21: set up before its ports are open; afterwards only kmuctl's own key lets in."""
    host = running()
    assert (host.nodes[KEY].mode, host.nodes[KEY].uid) == (0o600, 0)
    assert "STALWART_RECOVERY_ADMIN" not in environment(host)
    assert [row["name"] for row in host.http.stalwart.rows("Domain").values()] == ["acme.example"]
    assert {row["name"] for row in host.http.stalwart.rows("Account").values()} == {"kmuctl", "max"}
    assert [row["url"] for row in host.http.stalwart.rows("Directory").values()] == ["ldap://authentik-ldap:3389"]
    assert changed(plan(host)) == set()


def test_a_second_up_writes_nothing_to_it() -> None:
    """K56."""
    host = running()
    before = len(host.http.sent)
    assert changed(go_up(host)) == set()
    assert len(host.http.sent) == before


def test_nobody_reaches_it_while_it_is_set_up() -> None:
    """An unconfigured Stalwart would bounce mail for the company's own domain."""
    text = running().read(f"{FOLDER}/rendered/compose.yaml") or b""
    service = json.loads(closed_project(text, Secret("s3cret")))["services"]["stalwart"]
    assert "ports" not in service
    assert service["environment"]["STALWART_RECOVERY_ADMIN"] == "admin:s3cret"
    assert service["labels"]["kmuctl.definition"] == "set-up"


def test_killed_while_it_is_set_up_the_next_up_starts_over_and_closes_the_back_door() -> None:
    host = running()
    project = closed_project(host.read(f"{FOLDER}/rendered/compose.yaml") or b"", Secret("left-behind"))
    folder = f"{FOLDER}/rendered"
    place = ("--project-name", "kmu", "--project-directory", folder, "--file", "-")
    words = ("docker", "compose", *place, "up", "--detach", "--no-build", "--quiet-pull", "stalwart")
    assert host.run(words, stdin=project, folder=folder).code == 0
    assert environment(host)["STALWART_RECOVERY_ADMIN"] == "admin:left-behind"
    assert "container:stalwart" in changed(go_up(host))
    assert "STALWART_RECOVERY_ADMIN" not in environment(host)


def test_a_lost_key_is_replaced_and_the_old_one_is_worthless() -> None:
    host = running()
    old = registry(host)
    host.remove(KEY)
    assert plan(host)["stalwart:setup"].cause == "kmuctl has no key to it yet"
    assert "stalwart:setup" in changed(go_up(host))
    assert registry(host).welcome(host)
    assert not old.welcome(host)
    assert changed(plan(host)) == set()


def test_a_key_that_somebody_removed_is_replaced() -> None:
    host = running()
    [key] = host.http.stalwart.rows("ApiKey")
    host.http.stalwart.change("ApiKey", destroy=[key])
    assert plan(host)["stalwart:setup"].cause == "it does not know kmuctl's key any more"
    assert not states(go_up(host), State.FAILED)
    assert registry(host).welcome(host)


def test_a_setting_changed_by_hand_is_named_and_put_right() -> None:
    """What is not ours stays: another webhook, a ban, the description of an account."""
    host = running()
    stalwart = host.http.stalwart
    [domain] = stalwart.rows("Domain")
    stalwart.change("Domain", update={domain: {"catchAllAddress": "all@acme.example", "description": "By hand"}})
    stalwart.change("BlockedIp", create=[{"address": "203.0.113.9", "reason": "authFailure"}])
    assert plan(host)["stalwart:settings"].cause == "Domain acme.example differs in description"
    assert changed(go_up(host)) == {"stalwart:settings"}
    assert stalwart.rows("Domain")[domain]["description"] == "ACME GmbH"
    assert stalwart.rows("Domain")[domain]["catchAllAddress"] == "all@acme.example"
    assert len(stalwart.rows("BlockedIp")) == 1


def test_a_webhook_removed_by_hand_comes_back() -> None:
    """D26: no event would arrive, and nobody would notice."""
    host = running()
    [hook] = host.http.stalwart.rows("WebHook")
    host.http.stalwart.change("WebHook", destroy=[hook])
    assert go_up(host)["stalwart:settings"].cause == "WebHook http://usersync:8001/webhooks/stalwart to make"
    assert len(host.http.stalwart.rows("WebHook")) == 1


def test_a_listener_removed_by_hand_comes_back_with_a_restart() -> None:
    """A reload does not reach listeners."""
    host = running()
    [imaps] = [key for key, row in host.http.stalwart.rows("NetworkListener").items() if row["name"] == "imaps"]
    host.http.stalwart.change("NetworkListener", destroy=[imaps])
    started = host.engine.made["stalwart"].started
    assert go_up(host)["stalwart:settings"].cause == "NetworkListener imaps to make"
    assert host.engine.made["stalwart"].started > started


def test_a_relay_comes_and_goes_with_the_site_file() -> None:
    """L20."""
    host = running()
    secrets = f"{FOLDER}/secrets.env"
    host.write(secrets, (host.read(secrets) or b"") + b"MAIL_RELAY_PASSWORD=pass-word\n", mode=0o600)
    assert not states(go_up(host, mail=RELAY), State.FAILED)
    [relay] = [row for row in host.http.stalwart.rows("MtaRoute").values() if row["name"] == "relay"]
    assert (relay["address"], relay["authSecret"]["@type"]) == ("smtp.acme.example", "File")
    assert changed(plan(host, mail=RELAY)) == set()
    assert not states(go_up(host), State.FAILED)
    assert "relay" not in {row["name"] for row in host.http.stalwart.rows("MtaRoute").values()}


def test_one_of_many_objects_is_named_as_people_know_it() -> None:
    """Stalwart says an id."""
    host = running()
    [imaps] = [key for key, row in host.http.stalwart.rows("NetworkListener").items() if row["name"] == "imaps"]
    host.http.stalwart.change("NetworkListener", update={imaps: {"tlsImplicit": False}})
    host.http.stalwart.refuse("x:NetworkListener", "Invalid")
    cause = go_up(host)["stalwart:settings"].cause
    assert cause.startswith("NetworkListener imaps differs in tlsImplicit: Stalwart refuses NetworkListener: `")
    assert cause.endswith("`: tlsImplicit: Invalid")


def test_a_refused_object_says_which_and_why() -> None:
    host = running()
    [directory] = host.http.stalwart.rows("Directory")
    host.http.stalwart.change("Directory", update={directory: {"baseDn": "dc=elsewhere"}})
    host.http.stalwart.refuse("x:Directory", "Invalid address")
    outcome = go_up(host)["stalwart:settings"]
    assert outcome.state is State.FAILED
    what = "Directory ldap://authentik-ldap:3389 differs in baseDn"
    assert outcome.cause == f"{what}: Stalwart refuses Directory: `{directory}`: baseDn: Invalid address"


def test_settings_that_were_written_but_never_loaded_are_loaded_by_the_next_up() -> None:
    """Killed between the last change and the reload."""
    host = running()
    host.write(f"{FOLDER}/state/stalwart.unloaded", b"")
    assert plan(host)["stalwart:settings"].cause == "changed settings are not loaded yet"
    before = len(host.http.sent)
    assert changed(go_up(host)) == {"stalwart:settings"}
    assert writes(host)[-1] == "x:Action/set"
    assert len(host.http.sent) == before + 1


def recorded(host: FakeHost) -> list[str]:
    """What the engine is told from now on."""
    order: list[str] = []
    engine, authentik = host.engine, host.http.authentik
    stop, restart, compose_up, execute = engine.stop, engine.restart, engine.compose_up, authentik.execute

    def stopping(project: str, name: str) -> None:
        order.append(f"stop {name}")
        stop(project, name)

    def restarting(project: str, name: str) -> None:
        order.append(f"restart {name}")
        restart(project, name)

    def starting(command: tuple[str, ...], folder: str | None, stdin: bytes) -> object:
        order.append(f"start {command[-1]}")
        return compose_up(command, folder, stdin)

    def executing(command: tuple[str, ...], stdin: bytes) -> object:
        order.append(f"apply {command[-1]}")
        return execute(command, stdin)

    engine.stop, engine.restart = stopping, restarting  # type: ignore[method-assign, assignment]
    engine.compose_up, authentik.execute = starting, executing  # type: ignore[method-assign, assignment]
    return order


@pytest.mark.parametrize("container", ["postgres", "authentik-server", "authentik-worker", "authentik-ldap"])
def test_mail_stops_before_its_directory_restarts(container: str) -> None:
    """PITFALLS 33: nobody's mailbox may seem not to exist; where nobody answers, other servers keep the mail."""
    host = running()
    host.engine.stop("kmu", container)
    order = recorded(host)
    assert plan(host)["container:stalwart"].cause.startswith(f"stops while {container} restarts ({container} is exited")
    outcomes = go_up(host)
    assert not states(outcomes, State.FAILED)
    assert order[0] == "stop stalwart"
    assert order[-1] == "start stalwart"
    assert changed(plan(host)) == set()


def test_mail_stays_stopped_while_its_directory_cannot_start() -> None:
    host = running()
    host.engine.stop("kmu", "authentik-ldap")
    host.engine.scripts["authentik-ldap"] = Script(end="exited")
    outcomes = go_up(host, patient=False)
    assert outcomes["container:stalwart"].state is State.BLOCKED
    assert host.engine.made["stalwart"].stopped


def test_one_service_alone_does_not_stop_mail() -> None:
    """`--only` would not start it again, so what mail needs does not restart in it."""
    host = running()
    host.engine.stop("kmu", "authentik-worker")
    outcome = go_up_only(host, "authentik")["container:authentik-worker"]
    assert (outcome.state, outcome.hint) == (State.FAILED, "run `kmuctl up` without --only")
    assert not host.engine.made["stalwart"].stopped
    assert not states(go_up_only(host, "homepage"), State.FAILED)


def test_stalwart_alone_pauses_mail_as_a_whole_up_does() -> None:
    host = running()
    host.engine.stop("kmu", "authentik-worker")
    outcomes = go_up_only(host, "stalwart")
    assert not states(outcomes, State.FAILED)
    assert changed(outcomes) == {"container:authentik-worker", "container:stalwart"}


def test_mail_does_not_stop_for_an_image_that_cannot_be_had() -> None:
    host = running()
    host.engine.registry = set()
    new = "ghcr.io/goauthentik/server:2026.8.6"
    outcomes = go_up(host, images={"authentik-server": new, "authentik-worker": new})
    assert outcomes["container:authentik-server"].state is State.BLOCKED
    assert outcomes["container:nextcloud"].state is State.OK
    assert not host.engine.made["stalwart"].stopped


def test_listeners_changed_before_a_kill_are_opened_by_the_next_up() -> None:
    """The mark says that something changed, but not what."""
    host = running()
    host.write(f"{FOLDER}/state/stalwart.unloaded", b"")
    started = host.engine.made["stalwart"].started
    go_up(host)
    assert host.engine.made["stalwart"].started > started


def test_a_changed_key_of_an_object_leaves_no_second_one() -> None:
    host = running()
    [tracer] = [key for key, row in host.http.stalwart.rows("Tracer").items() if row["@type"] == "Stdout"]
    [directory] = host.http.stalwart.rows("Directory")
    host.http.stalwart.change("Tracer", update={tracer: {"ansi": True}})
    host.http.stalwart.change("Directory", update={directory: {"description": "Our people"}})
    assert changed(go_up(host)) == {"stalwart:settings"}
    assert [row["ansi"] for row in host.http.stalwart.rows("Tracer").values() if row["@type"] == "Stdout"] == [False]
    assert [row["description"] for row in host.http.stalwart.rows("Directory").values()] == ["Authentik LDAP"]


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (
            "away",
            'Stalwart cannot look people up (it answers 500: {"title": "Internal Server Error"}): the directory '
            "ldap://authentik-ldap:3389 is away, or refuses the account `cn=ldapservice,ou=users,dc=acme,dc=example`",
        ),
        ("empty", "Stalwart does not let noreply in: people cannot sign in either"),
    ],
)
def test_a_directory_that_lets_nobody_in_is_set_again(wrong: str, cause: str) -> None:
    """K38, K117, PITFALLS 32: a lost right, or a password changed by hand; meanwhile nobody may hand in mail."""
    host = running()
    if wrong == "away":
        host.http.authentik.objects.the("authentik_core.token", identifier="ldapservice-bind")["key"] = "another"
    else:
        host.http.stalwart.directory = "empty"
    assert plan(host)["stalwart:directory"].cause == cause
    order = recorded(host)
    assert changed(go_up(host)) == {"stalwart:directory"}
    assert order == [
        "stop stalwart",
        "apply custom/10-base.yaml",
        "apply custom/30-ldap.yaml",
        "restart authentik-ldap",
        "start stalwart",
    ]
    assert changed(plan(host)) == set()


def test_a_directory_that_stays_shut_is_said_once() -> None:
    """Each look is a failed login of noreply: a hundred a day shut it out."""
    host = running()
    host.http.stalwart.directory = "closed"
    outcome = go_up(host, patient=False)["stalwart:directory"]
    assert outcome.state is State.FAILED
    assert outcome.cause == "Stalwart does not let noreply in: people cannot sign in either"


def test_a_set_up_that_fails_leaves_no_open_back_door() -> None:
    host = running()
    host.remove(KEY)
    [domain] = host.http.stalwart.rows("Domain")
    host.http.stalwart.change("Domain", update={domain: {"description": "By hand"}})
    host.http.stalwart.refuse("x:Domain", "Invalid")
    assert go_up(host)["stalwart:setup"].state is State.FAILED
    assert host.engine.made["stalwart"].stopped


def test_a_plan_without_stalwart_running_says_that_it_cannot_know() -> None:
    host = running()
    host.engine.stop("kmu", "stalwart")
    assert plan(host)["stalwart:settings"].state is State.BLOCKED


def test_a_site_without_mail_has_none_of_it() -> None:
    apps = {"stalwart": False}
    outcomes = go_up(empty(), apps=apps)
    assert not [name for name in outcomes if "stalwart" in name]


def test_a_set_up_that_does_not_get_healthy_fails_with_the_containers_words() -> None:
    host = empty()
    host.engine.scripts["stalwart"] = Script(end="unhealthy", says="no database")
    outcome = bring([replace(step, deadline=0) for step in steps(host)], host)["stalwart:setup"]
    assert (outcome.state, outcome.cause) == (State.FAILED, "stalwart is unhealthy: no database")


@pytest.mark.parametrize(
    ("wanted", "present", "same"),
    [
        ({"@type": "A", "x": 1}, {"@type": "A", "x": 1, "more": 2}, True),
        ({"@type": "A", "x": 1}, {"@type": "B", "x": 1}, False),
        ({"a": True}, {"a": True, "b": True}, False),
        ({"0": {"if": "x", "then": "y"}}, {"0": {"if": "x", "then": "y"}}, True),
        ({"jmap": {"cleartext": False}}, {"jmap": {"cleartext": False, "hostname": None}}, True),
        ({}, None, True),
        ({}, {"a": True}, False),
        (None, None, True),
        (1, True, True),
        ("1", 1, False),
    ],
)
def test_what_counts_as_the_same(wanted: object, present: object, same: bool) -> None:
    """The server adds its defaults to typed objects; of sets, lists and maps every member is ours."""
    assert holds(wanted, present) is same
