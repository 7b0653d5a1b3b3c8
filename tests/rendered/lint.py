"""What must hold for every rendered project, whatever the site: each rule yields one sentence for each mistake."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeAlias

from kmuctl.assets import sources
from tests.rendered import caddyfile
from tests.rendered.sites import Project, secret_value

Rule: TypeAlias = Callable[[Project], Iterator[str]]

PUBLISHERS = {"caddy", "stalwart", "coturn", "jitsi-jvb"}
BELIEVERS = {"dozzle", "panel"}
"""Containers that take `X-Authentik-Username` for proof."""
SOCKET = "/var/run/docker.sock"
AUTHORITY = "../data/caddy/authority"
"""Copied there for all to trust; no secret."""
PRIVATE = (0o600, 0o400)
# After the first line: what products offer as a check, and what stays content without database, directory or disk.
NO_CHECK = re.compile(
    r"--version|\bversion$|^true$"
    r"|\bak healthcheck$|/ldap healthcheck$|/healthz/(live|ready)\b|8008/health\b|\bvalkey-cli ping\b"
    r"|SELECT 1(?!\d)"
)
LEFT_OVER = re.compile(
    r"(?<![\w.])localhost(?![\w-])|example\.(?:com|org|net)|changeme|CHANGE_ME|TODO|FIXME|<[A-Za-z][\w' -]*>"
)


# --- ports and mounts -------------------------------------------------------------------------------------------


def ports_are_as_declared(project: Project) -> Iterator[str]:
    for service in project.stack.services:
        declared = Counter(port.mapping for port in service.ports)
        published = Counter(
            str(mapping)
            for container in service.containers
            for mapping in project.containers[container.name].get("ports", ())
        )
        if declared != published:
            yield f"{service.name}: declares {sorted(declared)}, publishes {sorted(published)}"


def only_the_front_publishes(project: Project) -> Iterator[str]:
    for name, definition in project.containers.items():
        if definition.get("ports") and name not in PUBLISHERS:
            yield f"{name}: publishes {definition['ports']}"
        if "network_mode" in definition:
            yield f"{name}: leaves the project's networks"


def mounts_are_state_or_rendered(project: Project) -> Iterator[str]:
    for name in project.containers:
        for source, target, mode in project.mounts(name):
            if not target.startswith("/"):
                yield f"{name}: mounts {source} on {target}"
            elif source != SOCKET:
                yield from _mount(project, name, source, mode)


def _mount(project: Project, name: str, source: str, mode: str) -> Iterator[str]:
    service = project.owner(name)
    state = {service.path(data.name) for data in service.data}
    if source.startswith("./"):
        if not project.below(source):
            yield f"{name}: mounts {source}, which is not rendered"
        if mode != "ro":
            yield f"{name}: may write to {source}"
    elif source not in state and (source, mode) != (AUTHORITY, "ro"):
        yield f"{name}: mounts {source}, which is neither rendered nor declared state"


def state_is_used(project: Project) -> Iterator[str]:
    for service in project.stack.services:
        used = {source for container in service.containers for source, _, _ in project.mounts(container.name)}
        for data in service.data:
            if service.path(data.name) not in used:
                yield f"{service.name}: declares the folder {data.name}, which no container mounts"


def one_container_sees_the_engine(project: Project) -> Iterator[str]:
    for name in project.containers:
        for source, _, mode in project.mounts(name):
            if "docker.sock" in source and (name, mode) != ("dozzle-proxy", "ro"):
                yield f"{name}: reaches the engine ({mode})"
    if "dozzle-proxy" in project.containers and (others := project.neighbours("dozzle-proxy") - {"dozzle"}):
        yield f"{sorted(others)}: may ask the engine's proxy"


def mounted_files_are_readable(project: Project) -> Iterator[str]:
    """A 0600 file belongs to the user of the container that mounts it; environment files are Compose's to read."""
    for name, definition in project.containers.items():
        mounted = [
            path for source, _, _ in project.mounts(name) if source.startswith("./") for path in project.below(source)
        ]
        for path in mounted:
            file = project.files[path]
            if file.mode in PRIVATE and file.uid != project.declared(name).uid:
                yield f"{name}: cannot read {path}, which belongs to {file.uid}"
        for path in definition.get("env_file", ()):
            if project.files[path].uid != 0:
                yield f"{path}: an environment file belongs to root"
        yield from (f"{path}: an environment file inside the container" for path in mounted if path.endswith(".env"))


# --- names and networks -----------------------------------------------------------------------------------------


def upstreams_are_beside_caddy(project: Project) -> Iterator[str]:
    extra = {site.upstream for site in project.stack.site.sites.values()}
    for site, lines in caddyfile.sites(project.text("caddy/Caddyfile")).items():
        for upstream in caddyfile.upstreams(lines) - extra:
            if upstream.split(":")[0] not in project.neighbours("caddy"):
                yield f"{site}: {upstream} is no container on a network of Caddy's"


def names_in_headers_come_from_caddy(project: Project) -> Iterator[str]:
    """Who takes a header's word for who is signed in is reached by none but Caddy, and Authentik, whose word it is."""
    for name in BELIEVERS & project.containers.keys():
        own = {container.name for container in project.owner(name).containers}
        if strangers := project.neighbours(name) - own - {"caddy", "authentik-server"}:
            yield f"{name}: {sorted(strangers)} could claim to be anybody"


def every_route_is_served(project: Project) -> Iterator[str]:
    served = set(caddyfile.sites(project.text("caddy/Caddyfile"))) - {":9180"}
    if wrong := served ^ set(project.stack.hosts()):
        yield f"Caddy and the catalog differ in {sorted(wrong)}"


def networks_are_declared_and_closed(project: Project) -> Iterator[str]:
    declared = project.compose["networks"]
    for name, definition in project.containers.items():
        if not definition.get("networks"):
            yield f"{name}: is in no network, so Compose would make one"
        yield from (f"{name}: unknown network {net}" for net in definition.get("networks", ()) if net not in declared)
    for network in project.stack.networks():
        if network.name in declared and bool(declared[network.name].get("internal")) != network.internal:
            yield f"{network.name}: internal is not {network.internal}"
    subnets = [net["ipam"]["config"][0]["subnet"] for net in declared.values()]
    yield from (f"two networks have {subnet}" for subnet, count in Counter(subnets).items() if count > 1)


def only_database_services_reach_the_database(project: Project) -> Iterator[str]:
    clients = {service.name for service in project.stack.services if service.databases} | {"postgres"}
    for name in project.members("database"):
        if project.owner(name).name not in clients:
            yield f"{name}: reaches the database and has none"
    reached = {project.owner(name).name for name in project.members("database")}
    yield from (f"{name}: has a database and does not reach it" for name in clients - reached)


def names_are_unique_on_each_network(project: Project) -> Iterator[str]:
    """L22: two containers with one name on a network answer in turns, which looks like chance errors."""
    for network in project.compose["networks"]:
        names = [*project.members(network)]
        for definition in project.containers.values():
            joined = definition["networks"]
            names += (
                ((joined[network] or {}).get("aliases", [])) if isinstance(joined, dict) and network in joined else []
            )
        yield from (f"{network}: {name} stands for {count}" for name, count in Counter(names).items() if count > 1)


def public_names_lead_to_one_door(project: Project) -> Iterator[str]:
    """U34: inside the stack our public names lead to Caddy, mail's to Stalwart; an extra site recreates nothing.

    With a proxy in front that alone has certificates, they lead there: by DNS.
    """
    aliases = set(project.containers["caddy"]["networks"]["proxy"].get("aliases", ()))
    site = project.stack.site
    public = {route.fqdn for route in project.stack.routes()} - {site.fqdn("mail")}
    names = set() if site.tls.mode == "off" else public
    if wrong := aliases ^ names:
        yield f"caddy: aliases differ from the public names in {sorted(wrong)}"


def starts_in_an_order(project: Project) -> Iterator[str]:
    graph = {name: list(definition.get("depends_on", {})) for name, definition in project.containers.items()}
    for name, needs in graph.items():
        yield from (f"{name}: waits for {need}, which is not there" for need in needs if need not in graph)
        if isinstance(waits := project.containers[name].get("depends_on", {}), dict):
            late = [need for need, how in waits.items() if how["condition"] != "service_healthy"]
            yield from (f"{name}: does not wait until {need} is healthy" for need in late)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"containers wait for each other: {error.args[1]}"


# --- containers -------------------------------------------------------------------------------------------------


def images_are_pinned(project: Project) -> Iterator[str]:
    for name, definition in project.containers.items():
        _, _, tag = definition["image"].rpartition(":")
        if not re.match(r"(v|stable-)?\d[\w.-]*$", tag):
            yield f"{name}: {definition['image']} is not pinned"


def containers_are_confined(project: Project) -> Iterator[str]:
    for name, definition in project.containers.items():
        reasons = _fragment(project, name)
        options = definition["logging"]["options"]
        if not (options.get("max-size") and options.get("max-file")):
            yield f"{name}: logs without limit"
        if definition.get("restart") != "unless-stopped":
            yield f"{name}: does not come back after a restart of the host"
        if definition.get("mem_limit") != f"{project.declared(name).memory}m":
            yield f"{name}: no memory limit as declared"
        if "no-new-privileges:true" not in definition.get("security_opt", ()) and not _explained(
            reasons, "security_opt:"
        ):
            yield f"{name}: may gain privileges, without a reason"
        if definition.get("cap_drop") != ["ALL"]:
            yield f"{name}: keeps Docker's capabilities"
        if definition.get("cap_add") and not _explained(reasons, "cap_add:"):
            yield f"{name}: cap_add without a reason beside it"
        if "read_only" not in definition or not (definition["read_only"] or _explained(reasons, "read_only: false")):
            yield f"{name}: may write into its image, without a reason beside it"
        if "user" not in definition or (_is_root(definition) and not _explained(reasons, 'user: "0')):
            yield f"{name}: root, or whoever the image says, without a reason beside it"
        if definition.get("privileged") or definition.get("pid") or definition.get("devices"):
            yield f"{name}: is not confined at all"


def _fragment(project: Project, container: str) -> str:
    return sources()[f"compose/{project.owner(container).name}.yml.j2"]


def _is_root(definition: dict[str, Any]) -> bool:
    return str(definition["user"]).split(":")[0] in ("0", "root")


def _explained(fragment: str, setting: str) -> bool:
    """A comment stands right above each mention."""
    lines = [line.strip() for line in fragment.splitlines()]
    mentions = [at for at, line in enumerate(lines) if line.startswith(setting)]
    return bool(mentions) and all(lines[at - 1].startswith("#") for at in mentions)


def users_are_as_declared(project: Project) -> Iterator[str]:
    """A container that reads secrets does so as the user they belong to, or as a root that becomes that user."""
    for name, definition in project.containers.items():
        user = str(definition["user"]).split(":")[0]
        becomes_another = _is_root(definition) and "SETUID" in definition.get("cap_add", ())
        if project.secrets(name) and user != str(project.declared(name).uid) and not becomes_another:
            yield f"{name}: runs as {user}, its secrets belong to {project.declared(name).uid}"


def health_is_checked(project: Project) -> Iterator[str]:
    for name, definition in project.containers.items():
        check = definition.get("healthcheck", {})
        test = check.get("test", [])
        if not test or test[0] not in ("CMD", "CMD-SHELL") or len(test) < 2:
            yield f"{name}: no health check"
        elif NO_CHECK.search(" ".join(test[1:])):
            yield f"{name}: a health check that proves nothing: {test}"
        yield from (
            f"{name}: no {key} for the health check" for key in ("interval", "timeout", "retries") if key not in check
        )
        if check.get("start_period") != f"{project.declared(name).deadline}s":
            yield f"{name}: has another start period than its deadline: slow would look like broken"


def the_host_is_big_enough(project: Project) -> Iterator[str]:
    limits = [int(definition["mem_limit"].removesuffix("m")) for definition in project.containers.values()]
    if sum(limits) > 7500:
        yield f"{sum(limits)} MiB do not fit an 8 GB VPS"
    if sum(limits) != project.stack.memory():
        yield "the sum of the limits is not what the stack says"


# --- secrets and leftovers --------------------------------------------------------------------------------------


def secrets_stay_where_they_belong(project: Project) -> Iterator[str]:
    """Never in compose.yaml, so never in an environment block, a command or a label."""
    for path, file in project.files.items():
        content = file.content.decode()
        found = [spec.name for spec in project.stack.secrets() if secret_value(spec.name) in content]
        if not found:
            continue
        if file.mode not in PRIVATE:
            yield f"{path}: others may read {found}"
        if path == "compose.yaml" or (foreign := set(found) - project.stack.readable(project.stack[file.service])):
            yield f"{path}: holds {found if path == 'compose.yaml' else sorted(foreign)}"


def secret_files_are_granted_exactly(project: Project) -> Iterator[str]:
    granted = {
        f"secrets/{name}/{entry['target']}": (name, entry["source"])
        for name, definition in project.containers.items()
        for entry in definition.get("secrets", ())
    }
    if wrong := {path for path in project.files if path.startswith("secrets/")} ^ set(granted):
        yield f"secret files and grants differ in {sorted(wrong)}"
    files = {source: entry["file"] for source, entry in project.compose.get("secrets", {}).items()}
    if files != {source: f"./{path}" for path, (_, source) in granted.items()}:
        yield "the project's secrets are not the containers'"
    for path, (name, _) in granted.items():
        if (file := project.files.get(path)) and (file.mode not in PRIVATE or file.uid != project.declared(name).uid):
            yield f"{path}: {file.mode:o}, owner {file.uid}"


def secret_paths_lead_to_secrets(project: Project) -> Iterator[str]:
    """Whoever names /run/secrets/X has been granted X."""
    for name, definition in project.containers.items():
        yield from _ungranted(name, _strings(definition), project.secrets(name))
    for path, file in project.files.items():
        if path != "compose.yaml":
            containers = project.stack[file.service].containers
            granted = set().union(*(project.secrets(container.name) for container in containers))
            yield from _ungranted(path, [file.content.decode()], granted)


def grants_are_used(project: Project) -> Iterator[str]:
    """A secret that nothing names is one too many eyes."""
    for name, definition in project.containers.items():
        service = project.owner(name).name
        own = (file.content.decode() for path, file in project.files.items() if file.service == service)
        text = "".join([*_strings(definition), *own])
        for secret in sorted(project.secrets(name)):
            if f"/run/secrets/{secret}" not in text:
                yield f"{name}: is granted {secret} and never reads it"


def _ungranted(where: str, texts: Iterable[str], granted: set[str]) -> Iterator[str]:
    named = {name for text in texts for name in re.findall(r"/run/secrets/(\w+)", text)}
    yield from (f"{where}: names the secret {name}, which it is not granted" for name in sorted(named - granted))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def no_variable_is_left_to_compose(project: Project) -> Iterator[str]:
    """K111: every `$` in compose.yaml is doubled, so nothing depends on somebody's environment."""
    for number, line in enumerate(project.text("compose.yaml").splitlines(), 1):
        if "$" in line.replace("$$", ""):
            yield f"compose.yaml:{number}: {line.strip()}"


def environment_files_need_no_quotes(project: Project) -> Iterator[str]:
    """Compose expands `$` in them, and takes quotes, blanks and `#` for its own: no value has any."""
    for path, file in project.files.items():
        lines = file.content.decode().splitlines() if path.endswith(".env") else []
        for line in lines:
            if line and not line.startswith("#") and not re.fullmatch(r"\w+=[\w./:,@?={}+-]*", line, re.ASCII):
                yield f"{path}: {line.partition('=')[0]}"


def nothing_unfinished_is_left(project: Project) -> Iterator[str]:
    """U5: no placeholder, no `localhost` that would mean the container itself."""
    for path, file in project.files.items():
        text = file.content.decode()
        if not path.endswith(".html"):
            yield from (f"{path}: {found}" for found in LEFT_OVER.findall(text))
        braces = (found for found in _braces(path, text) if found not in project.stack.site.name)
        yield from (f"{path}: template left over: {found}" for found in braces)


def _braces(path: str, text: str) -> list[str]:
    if path.startswith("authentik/mail/"):
        return []
    found = re.findall(r"{%.*?%}|{{.*?}}|{#.*?#}", text)
    return [part for part in found if path != "synapse/homeserver.yaml" or not re.fullmatch(r"{{ user\.\w+ }}", part)]


def text_files_end_with_a_newline(project: Project) -> Iterator[str]:
    for path, file in project.files.items():
        if not path.startswith("secrets/") and not file.content.endswith(b"\n"):
            yield f"{path}: no newline at the end"
        yield from (f"{path}: {word}" for word in ("\r", "\x00") if word.encode() in file.content)


RULES: tuple[Rule, ...] = (
    ports_are_as_declared,
    only_the_front_publishes,
    mounts_are_state_or_rendered,
    state_is_used,
    one_container_sees_the_engine,
    mounted_files_are_readable,
    upstreams_are_beside_caddy,
    names_in_headers_come_from_caddy,
    every_route_is_served,
    networks_are_declared_and_closed,
    only_database_services_reach_the_database,
    names_are_unique_on_each_network,
    public_names_lead_to_one_door,
    starts_in_an_order,
    images_are_pinned,
    containers_are_confined,
    users_are_as_declared,
    health_is_checked,
    the_host_is_big_enough,
    secrets_stay_where_they_belong,
    secret_files_are_granted_exactly,
    secret_paths_lead_to_secrets,
    grants_are_used,
    no_variable_is_left_to_compose,
    environment_files_need_no_quotes,
    nothing_unfinished_is_left,
    text_files_end_with_a_newline,
)
