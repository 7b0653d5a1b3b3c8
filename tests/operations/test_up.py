"""`up` as a whole, on a machine in memory: what it promises, not how it does it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmuctl.model.errors import ConfigError
from kmuctl.model.host import DatabaseFact
from kmuctl.model.step import Outcome, State
from kmuctl.operations.caddy import RELOAD
from kmuctl.operations.plan import converge, survey
from tests.fakes import FakeHost, Script
from tests.fakes.certificates import issued
from tests.golden import golden
from tests.operations.scenes import (
    FOLDER,
    bring,
    changed,
    empty,
    go_up,
    go_up_only,
    plan,
    running,
    states,
    steps,
)
from tests.support import stack

UNTOUCHED_BY_A_NAME = {"container:nextcloud-valkey", "container:postgres", "container:caddy", "container:coturn"}


def test_the_plan_on_an_empty_host() -> None:
    """What a newcomer sees first."""
    host = empty()
    before = host.snapshot()
    outcomes = survey(steps(host), host)
    golden("plan-empty-host.txt", "".join(f"{outcome}\n" for outcome in outcomes))
    assert host.snapshot() == before


def test_up_brings_every_container_up() -> None:
    """K1 K3 K4 K7 K9 K10 K11 K12 K43 U31 U37 U41 D34 D35: everything runs, and only what belongs to the site."""
    host = empty()
    outcomes = go_up(host)
    assert states(outcomes, State.FAILED) | states(outcomes, State.BLOCKED) == set()
    facts = host.engine.containers("kmu")
    assert set(facts) == {container.name for container in stack().containers()}
    assert {fact.health for fact in facts.values()} == {"healthy"}


def test_up_twice_changes_once() -> None:
    """K90: the second run leaves the machine as it is, and says so."""
    host = running()
    before = host.snapshot()
    assert changed(go_up(host)) == set()
    assert host.snapshot() == before


def test_the_second_plan_is_empty() -> None:
    assert changed(plan(running())) == set()


CHANGES = {
    "empty host": ({}, False),
    "nothing": ({}, True),
    "name": ({"name": 'Brandt & "Söhne" $1'}, True),
    "language": ({"language": "en"}, True),
    "an app off": ({"apps": {"jitsi": False}}, True),
    "two apps off": ({"apps": {"synapse": False, "element": False}}, True),
    "another subnet": ({"network": {"subnet": "10.99.0.0/20"}}, True),
    "another image": ({"images": {"element": "mirror.example/element:9"}}, True),
    "an extra site": ({"sites": {"wiki": {"upstream": "192.0.2.10:3000"}}}, True),
}


@pytest.mark.parametrize(("changes", "is_up"), CHANGES.values(), ids=CHANGES)
def test_the_plan_is_what_up_does(changes: dict[str, object], is_up: bool) -> None:
    """The dry run names the steps that `up` then changes, and those it cannot know yet; afterwards nothing is left."""
    host = running() if is_up else empty()
    known = steps(host, **changes)
    planned = {outcome.step.name: outcome for outcome in survey(known, host)}
    done = bring(known, host)
    assert states(done, State.FAILED) | states(done, State.BLOCKED) == set()
    assert states(planned, State.CHANGE) <= changed(done) <= changed(planned)
    assert changed(plan(host, **changes)) == set()


def test_a_new_language_touches_what_shows_it() -> None:
    host = running()
    before = {name: item.serial for name, item in host.engine.made.items()}
    outcomes = go_up(host, language="en")
    assert {"site", "files:homepage", "files:element", "container:element"} <= changed(outcomes)
    assert changed(outcomes) & UNTOUCHED_BY_A_NAME == set()
    assert host.engine.made["postgres"].serial == before["postgres"]
    assert host.engine.made["element"].serial != before["element"]


def test_the_start_page_changes_without_a_restart() -> None:
    """K13 D55: pages are read from disk."""
    host = running()
    outcomes = go_up(host, branding={"color": "#112233"})
    assert {"site", "files:homepage"} <= changed(outcomes)
    assert "container:homepage" not in changed(outcomes)


def test_caddy_reloads_instead_of_being_recreated() -> None:
    """K2 L21: visitors notice nothing when only the Caddyfile changes."""
    host = running()
    serial, loads = host.engine.made["caddy"].serial, host.engine.caddy_loads
    host.write(f"{FOLDER}/rendered/caddy/Caddyfile", b"# edited by hand\n")
    host.engine.execute("kmu", "caddy", RELOAD)
    assert changed(go_up(host)) == {"files:caddy", "caddy:config"}
    assert host.engine.made["caddy"].serial == serial
    assert host.engine.caddy_loads == loads + 2


def test_a_configuration_that_caddy_refuses_is_never_loaded() -> None:
    """K110: the old one goes on serving."""
    host = running()
    loads = host.engine.caddy_loads
    host.engine.caddy_refuses = "unrecognized encoder module: formatted"
    outcome = go_up(host)["caddy:config"]
    assert outcome.state is State.FAILED
    assert outcome.cause == "Caddy refuses its configuration: Error: unrecognized encoder module: formatted"
    assert host.engine.caddy_loads == loads


def test_a_renewed_certificate_of_the_company_is_served() -> None:
    """Mode "files": Caddy reads it again, though its configuration is the same."""
    tls = {"mode": "files", "certificate": "/etc/ssl/site.crt", "key": "/etc/ssl/site.key"}
    host = running()
    old, renewed = (issued("*.acme.example", number=number) for number in (1, 2))
    host.write("/etc/ssl/site.crt", old.certificate, mode=0o600)
    host.write("/etc/ssl/site.key", old.key, mode=0o600)
    go_up(host, tls=tls)
    loads, caddy = host.engine.caddy_loads, host.engine.made["caddy"].serial
    host.write("/etc/ssl/site.crt", renewed.certificate)
    host.write("/etc/ssl/site.key", renewed.key)
    handed_on = {f"certs:{name}" for name in ("turn", "turn:served", "mail", "mail:served")}
    assert changed(go_up(host, tls=tls)) == {"certificate", *handed_on}
    assert host.read(f"{FOLDER}/data/caddy/certs/site.crt") == renewed.certificate
    assert host.nodes[f"{FOLDER}/data/caddy/certs/site.key"].mode == 0o600
    assert (host.engine.caddy_loads, host.engine.made["caddy"].serial) == (loads + 1, caddy)


def test_an_app_switched_off_leaves_no_trace_but_its_data() -> None:
    """U30 U48 K112: files, routes and containers go, orphans included; the data stays."""
    host = running()
    host.write(f"{FOLDER}/data/jitsi/prosody/accounts", b"kept")
    go_up(host, apps={"jitsi": False})
    assert [name for name in host.engine.made if name.startswith("jitsi")] == []
    assert [path for path in host.tree(f"{FOLDER}/rendered") if "jitsi" in path] == []
    assert "meet.acme.example" not in host.text(f"{FOLDER}/rendered/caddy/Caddyfile")
    assert host.read(f"{FOLDER}/data/jitsi/prosody/accounts") == b"kept"


def test_an_app_switched_off_and_on_again_finds_its_secrets() -> None:
    """K31: a secret is made once."""
    host = running()
    secrets = host.text(f"{FOLDER}/secrets.env")
    go_up(host, apps={"jitsi": False})
    go_up(host)
    assert host.text(f"{FOLDER}/secrets.env") == secrets


def test_a_container_that_nobody_knows_is_removed() -> None:
    """K112."""
    host = running()
    host.engine.made["old-wiki"] = replace(host.engine.made["homepage"])
    outcomes = go_up(host)
    assert outcomes["containers:orphans"].cause == "to remove: old-wiki"
    assert "old-wiki" not in host.engine.made


@pytest.mark.parametrize("count", [1, 5, 20, 45])
def test_up_cut_short_is_finished_by_the_next(count: int) -> None:
    """Ctrl-C or kill -9 after any number of steps: the next `up` goes on from there."""
    host = empty()
    cut_short(host, count)
    host.engine.scripts.clear()
    assert states(go_up(host), State.FAILED) == set()
    assert changed(plan(host)) == set()


def cut_short(host: FakeHost, count: int) -> None:
    """Start `up` and stop looking after so many outcomes."""
    host.engine.scripts["synapse"] = Script(starting=10_000)
    events = converge(steps(host), host)
    while count:
        count -= isinstance(next(events), Outcome)
    events.close()


def test_an_image_that_cannot_be_pulled_stops_only_its_own() -> None:
    """D34: the message names the image, everything else comes up, the next `up` finishes."""
    host = empty()
    missing = stack()["element"].containers[0].image
    host.engine.registry = {container.image for container in stack().containers()} - {missing}
    outcomes = go_up(host)
    assert states(outcomes, State.FAILED) == {f"image:{missing}"}
    assert outcomes[f"image:{missing}"].cause == f"cannot pull `{missing}`: manifest unknown"
    assert states(outcomes, State.BLOCKED) == {"container:element", "containers:orphans"}
    host.engine.registry = None
    assert changed(go_up(host)) == {f"image:{missing}", "container:element"}


def test_an_unhealthy_container_is_named_with_what_its_check_said() -> None:
    """K44 K85: the failure names container, reason, log and the way on; dependents wait for it."""
    host = empty()
    host.engine.scripts["synapse"] = Script(end="unhealthy", says="connection refused")
    outcomes = go_up(host, patient=False)
    failed = outcomes["container:synapse"]
    assert failed.state is State.FAILED
    assert failed.cause == "synapse is unhealthy: connection refused"
    assert failed.hint == "`kmuctl logs synapse` shows more; then run `kmuctl up` again"
    assert failed.step.logs == ("synapse",)
    assert outcomes["container:element"].cause == "after container:synapse"
    assert outcomes["container:nextcloud"].state is State.CHANGE


def test_a_sick_container_is_restarted_by_the_next_up() -> None:
    """A restart is all that can be done from here; when it helps, the run is good."""
    host = running()
    host.engine.scripts["nextcloud-valkey"] = Script(end="unhealthy", cured_by_restart=True)
    outcome = go_up(host)["container:nextcloud-valkey"]
    assert (outcome.state, outcome.cause) == (
        State.CHANGE,
        "nextcloud-valkey is unhealthy: its check says nothing",
    )


def test_a_crashing_container_is_restarted_by_the_next_up() -> None:
    """Docker waits up to a minute between its own attempts; whoever mended the cause need not."""
    host = running()
    host.engine.scripts["coturn"] = Script(end="restarting", cured_by_restart=True)
    assert changed(go_up(host)) == {"container:coturn"}


def test_a_container_that_keeps_crashing_is_given_up_early() -> None:
    host = empty()
    host.engine.scripts["coturn"] = Script(end="restarting")
    failed = go_up(host)["container:coturn"]
    assert (failed.state, failed.cause) == (
        State.FAILED,
        "coturn keeps stopping (exit code 78, 12 restarts)",
    )


def test_a_stopped_container_is_started_again() -> None:
    host = running()
    host.engine.stop("kmu", "homepage")
    outcomes = go_up(host)
    assert changed(outcomes) == {"container:homepage"}
    assert outcomes["container:homepage"].cause == "homepage is exited (exit code 0)"


def test_a_slow_start_is_waited_for() -> None:
    """K44 D35."""
    host = empty()
    host.engine.scripts = dict.fromkeys(("postgres", "authentik-server"), Script(starting=25))
    assert states(go_up(host), State.FAILED) == set()


def test_a_new_subnet_replaces_the_networks() -> None:
    """K32: kmuctl removes the old ones, Compose makes the new ones."""
    host = running()
    outcomes = go_up(host, network={"subnet": "10.99.0.0/20"})
    assert "network:kmu_proxy" in changed(outcomes)
    assert outcomes["network:kmu_proxy"].cause == "10.231.112.0/24 becomes 10.99.0.0/24"
    assert all(subnet.startswith("10.99.") for subnet in host.engine.subnets.values())


def test_a_file_changed_by_hand_comes_back_and_its_container_reads_it_again() -> None:
    """Restarted, not created anew: it may have started with the other content, or have it mounted by itself."""
    host = running()
    path = f"{FOLDER}/rendered/synapse/homeserver.yaml"
    wanted, serial = host.read(path), host.engine.made["synapse"].serial
    host.write(path, b"server_name: elsewhere\n", mode=0o600, uid=991)
    planned = plan(host)
    assert planned["container:synapse"].cause == "it started before homeserver.yaml was written"
    assert changed(go_up(host)) == changed(planned) == {"files:synapse", "container:synapse"}
    assert (host.read(path), host.engine.made["synapse"].serial) == (wanted, serial)
    assert changed(plan(host)) == set()


def test_a_file_that_was_deleted_comes_back() -> None:
    host = running()
    host.remove(f"{FOLDER}/rendered/secrets/synapse/turn_secret")
    planned = changed(plan(host))
    assert changed(go_up(host)) == planned == {"files:synapse", "container:synapse"}


def test_what_somebody_else_put_into_our_folder_stays() -> None:
    host = running()
    host.write(f"{FOLDER}/rendered/compose.override.yaml", b"services: {}\n")
    assert changed(go_up(host)) == set()
    assert host.read(f"{FOLDER}/rendered/compose.override.yaml") is not None


def test_a_file_that_became_readable_by_others_is_closed_again() -> None:
    host = running()
    path = f"{FOLDER}/rendered/secrets/synapse/turn_secret"
    node = host.nodes[path]
    host.nodes[path] = replace(node, mode=0o644)
    assert changed(go_up(host)) == {"files:synapse"}
    assert host.nodes[path] == node


def test_secrets_on_the_host_are_for_their_owner_alone() -> None:
    """K41 K104 K106: whoever holds a secret value in a file is its only reader."""
    host = running()
    values = [line.split("=", 1)[1].strip("'") for line in host.text(f"{FOLDER}/secrets.env").splitlines()[1:]]
    assert len(values) > 25
    open_files = [
        path
        for path, node in host.nodes.items()
        if node.content is not None and node.mode != 0o600 and any(value.encode() in node.content for value in values)
    ]
    assert open_files == []
    assert host.nodes[f"{FOLDER}/data/nextcloud/html"].uid == 33


def test_only_a_service_brings_what_it_needs() -> None:
    host = empty()
    outcomes = go_up_only(host, "element")
    assert set(host.engine.made) == {"postgres", "synapse", "element", "caddy"}
    assert states(outcomes, State.FAILED) == set()
    assert set(host.cluster.found) == {"synapse"}


def test_only_a_service_opens_its_door_too() -> None:
    host = empty()
    go_up(host, apps={"dozzle": False})
    loads = host.engine.caddy_loads
    go_up_only(host, "dozzle")
    assert host.engine.caddy_loads == loads + 1


def test_only_a_service_never_takes_the_network_from_the_others() -> None:
    """The containers that are not asked for would be left without it."""
    host = empty()
    go_up(host, network={"subnet": "10.99.0.0/20"})
    before = dict(host.engine.subnets)
    outcome = go_up_only(host, "element")["network:kmu_proxy"]
    assert (outcome.state, outcome.hint) == (State.FAILED, "run `kmuctl up` without --only")
    assert host.engine.subnets == before


def test_a_data_folder_that_others_may_write_is_closed() -> None:
    host = running()
    path = f"{FOLDER}/data/postgres/data"
    host.nodes[path] = replace(host.nodes[path], mode=0o777)
    assert changed(go_up(host)) == {"data:postgres"}
    assert host.nodes[path].mode == 0o700


def test_an_image_rebuilt_under_the_same_tag_recreates_its_containers() -> None:
    host = running()
    panel = stack()["panel"].containers[0].image
    host.engine.images[panel]["kmuctl.source"] = "older"
    host.engine.images[panel]["id"] = "sha256:older"
    outcomes = go_up(host)
    assert outcomes[f"image:{panel}"].cause == "its source changed"
    host.engine.images["caddy:2.11.7"] = {"id": "sha256:another"}
    assert changed(go_up(host)) == {"container:caddy", "container:homepage"}


def test_databases_and_roles() -> None:
    """K5 K103 U21: one role each with a password of its own, Synapse's with C collation."""
    host = running()
    assert host.cluster.found["synapse"] == DatabaseFact("synapse", "C")
    assert set(host.cluster.found) == {"authentik", "nextcloud", "stalwart", "synapse"}
    assert all(fact.owner == name for name, fact in host.cluster.found.items())
    assert len({*host.cluster.roles.values(), host.cluster.superuser}) == 5


def test_a_wrong_collation_is_refused() -> None:
    """K5: it cannot be changed in place."""
    host = running()
    host.cluster.found["synapse"] = DatabaseFact("synapse", "en_US.utf8")
    outcomes = go_up(host)
    assert states(outcomes, State.FAILED) == {"database:synapse"}
    assert outcomes["database:synapse"].cause == "database `synapse` has collation `en_US.utf8`, it needs `C`"
    assert "dump it" in outcomes["database:synapse"].hint


def test_a_foreign_owner_is_refused() -> None:
    host = running()
    host.cluster.found["nextcloud"] = DatabaseFact("somebody", "en_US.utf8")
    outcome = go_up(host)["database:nextcloud"]
    assert outcome.cause == "database `nextcloud` belongs to `somebody`"
    assert outcome.hint == "if it is the right one: `ALTER DATABASE nextcloud OWNER TO nextcloud`"


def test_a_database_open_to_every_role_is_closed() -> None:
    """One that was made by a kmuctl which was killed before it shut the door."""
    host = running()
    host.cluster.found["synapse"] = replace(host.cluster.found["synapse"], public=True)
    assert plan(host)["database:synapse"].cause == "every role may connect to it"
    assert changed(go_up(host)) == {"database:synapse"}
    assert not any(database.public for database in host.cluster.found.values())


def test_a_role_follows_the_secrets_file() -> None:
    """U28 U54: the secrets file is the only source."""
    host = running()
    path = f"{FOLDER}/secrets.env"
    old = host.cluster.roles["nextcloud"]
    host.write(path, host.text(path).replace(old, "another-one").encode(), mode=0o600)
    outcomes = go_up(host)
    assert outcomes["database:nextcloud"].cause == "the role's password differs from the secrets file"
    assert host.cluster.roles["nextcloud"] == "another-one"
    assert {"container:nextcloud", "container:nextcloud-cron"} <= changed(outcomes)
    assert changed(plan(host)) == set()


def test_a_lost_secrets_file_is_refused_before_anything_changes() -> None:
    """A new password would lock the database for good."""
    host = running()
    host.remove(f"{FOLDER}/secrets.env")
    before = host.snapshot()
    with pytest.raises(ConfigError, match=r"has no POSTGRES_PASSWORD, but its data exists"):
        go_up(host)
    assert host.snapshot() == before


def test_a_changed_superuser_password_says_what_to_do() -> None:
    host = running()
    path = f"{FOLDER}/secrets.env"
    host.write(path, host.text(path).replace(host.cluster.superuser, "guessed-wrongly").encode(), mode=0o600)
    assert go_up(host)["database:synapse"].cause == "PostgreSQL refuses the password of `POSTGRES_PASSWORD`"
