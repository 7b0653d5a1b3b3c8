"""What the company decided: `kmu.toml`, checked at the door, frozen inside."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import idna
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from tomlkit import parse as parse_toml
from tomlkit.exceptions import TOMLKitError

from kmuctl import SITE_FILE
from kmuctl.model.errors import ConfigError, Problems
from kmuctl.model.faults import explain, toml_fault
from kmuctl.model.values import (
    HOST_LENGTH,
    LABEL,
    absolute_path,
    any_network,
    ascii_domain,
    clock_time,
    free_text,
    hex_color,
    host_address,
    ipv4_address,
    keeping_time,
    language_code,
    mail_address,
    network_range,
    nextcloud_app,
    no_ipv6,
    own_folder,
    own_port,
    pinned_image,
    port_number,
    record_name,
    system_user,
    time_zone,
    upstream_address,
    user_name,
    web_address,
)

TRIAL_DOMAIN = "kmu.test"
FILE_HINT = "mend the lines above; the commented example is in the README, `kmuctl init` writes a new file"


@dataclass(frozen=True)
class Names:
    """What the catalog knows, so that the site file can be checked against it."""

    apps: frozenset[str] = frozenset()
    essential: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()


Text = Annotated[str, AfterValidator(free_text)]
Mail = Annotated[str, AfterValidator(mail_address)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Admin(Table):
    username: Annotated[str, AfterValidator(user_name)]
    name: Text
    email: Mail


class HostTable(Table):
    address: Annotated[str, AfterValidator(host_address)] = "local"
    folder: Annotated[str, AfterValidator(own_folder)] = "/opt/kmu"
    ipv4: Annotated[str, AfterValidator(ipv4_address)] | None = None
    """The public address: DNS records, and what coturn and the video bridge announce."""
    ipv6: Annotated[str, AfterValidator(no_ipv6)] | None = None


class Tls(Table):
    mode: Literal["acme", "internal", "files", "off"] = "acme"
    email: Mail | None = None
    """Where the certificate authority writes to; the admin's address unless given."""
    staging: bool = False
    certificate: Annotated[str, AfterValidator(absolute_path)] | None = None
    """With mode "off" for mail and calls alone: pages have that of the proxy in front."""
    key: Annotated[str, AfterValidator(absolute_path)] | None = None

    @property
    def given(self) -> tuple[str, str] | None:
        """The paths of a certificate of the company's own and its key, where the mode uses one."""
        use = self.mode in ("files", "off") and self.certificate and self.key
        return (str(self.certificate), str(self.key)) if use else None


class NetworkTable(Table):
    subnet: Annotated[str, AfterValidator(network_range)] = "10.231.112.0/20"
    trusted_proxies: tuple[str, ...] = Field(default=(), strict=False)
    """Proxies in front of Caddy, as networks; empty when Caddy faces the internet itself."""


class Relay(Table):
    host: Annotated[str, AfterValidator(ascii_domain)]
    port: Annotated[int, AfterValidator(port_number)] = 587
    username: Text
    spf: Annotated[str, AfterValidator(record_name)] | None = None
    """The name that its SPF record stands under, for ours to include."""


class MailTable(Table):
    relay: Relay | None = None


class NextcloudTable(Table):
    apps: tuple[Annotated[str, AfterValidator(nextcloud_app)], ...] = Field(
        default=("calendar", "contacts", "mail", "deck", "groupfolders", "collectives", "tables"), strict=False
    )
    """What Nextcloud gets from its app store, besides the sign-on."""


class Chat(Table):
    retention: Annotated[str, AfterValidator(keeping_time)] | None = None
    """Older messages are deleted; without it none ever."""


class SsoTable(Table):
    mfa: Literal["optional", "required"] = "optional"
    """Whether everybody must have a second factor; mail programs never give one."""


class Branding(Table):
    color: Annotated[str, AfterValidator(hex_color)] = "#2a6f97"
    logo: Annotated[str, AfterValidator(web_address)] | None = None


class ExtraSite(Table):
    upstream: Annotated[str, AfterValidator(upstream_address)]
    login: bool = True


class Harden(Table):
    """What `kmuctl harden` does; every part can be switched off."""

    system: bool = True
    docker: bool = True
    firewall: bool = True
    ssh: bool = True
    fail2ban: bool = True
    docker_source: Literal["docker", "distro"] = "docker"
    """Where a missing engine comes from: Docker's own packages, or the distribution's."""
    docker_users: tuple[Annotated[str, AfterValidator(system_user)], ...] = Field(default=(), strict=False)
    """Members of the group `docker`: whoever is in it is root on this machine."""
    reboot: Annotated[str, AfterValidator(clock_time)] | None = None
    """When the machine may restart by itself after an update that needs it; never unless given."""
    allow: tuple[Annotated[str, AfterValidator(any_network)], ...] = Field(default=(), strict=False)
    """Addresses and networks that are never banned."""
    ports: tuple[Annotated[str, AfterValidator(own_port)], ...] = Field(default=(), strict=False)
    """Open besides those of the services, for what else runs on the machine, in a container or not."""
    undo_minutes: Annotated[int, Field(ge=1, le=60)] = 5
    """After so long a change of SSH or firewall that nobody confirmed is undone."""


class Backup(Table):
    repository: str | None = None
    schedule: Annotated[str, AfterValidator(clock_time)] = "02:30"
    keep: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)


class Site(Table):
    """Everything that the company decided. `domain` is the ASCII form, `display_domain` what people read."""

    domain: Annotated[str, AfterValidator(ascii_domain)]
    name: Text
    language: Annotated[str, AfterValidator(language_code)] = "de"
    timezone: Annotated[str, AfterValidator(time_zone)] = "Europe/Berlin"
    admin: Admin
    host: HostTable = HostTable()
    tls: Tls = Tls()
    network: NetworkTable = NetworkTable()
    mail: MailTable = MailTable()
    nextcloud: NextcloudTable = NextcloudTable()
    chat: Chat = Chat()
    sso: SsoTable = SsoTable()
    branding: Branding = Branding()
    backup: Backup = Backup()
    harden: Harden = Harden()
    apps: dict[str, bool] = Field(default_factory=dict)
    images: dict[str, Annotated[str, AfterValidator(pinned_image)]] = Field(default_factory=dict)
    sites: dict[str, ExtraSite] = Field(default_factory=dict)

    @property
    def display_domain(self) -> str:
        return idna.decode(self.domain)

    @property
    def base_dn(self) -> str:
        return ",".join(f"dc={label}" for label in self.domain.split("."))

    @property
    def base_url(self) -> str:
        return self.url("")

    @property
    def mta_sts(self) -> Literal["enforce", "testing", "disable"]:
        """What other servers are told about the certificate of port 25: only a public one can keep the promise.

        Whose certificate authority a company's own file is from, nobody knows here.
        """
        if self.tls.mode == "acme" and not self.tls.staging:
            return "enforce"
        return "testing" if self.tls.given else "disable"

    def fqdn(self, host: str) -> str:
        return f"{host}.{self.domain}" if host else self.domain

    def url(self, host: str) -> str:
        return f"https://{self.fqdn(host)}"

    def enabled(self, app: str) -> bool:
        return self.apps.get(app, True)


def load_site(path: Path, names: Names) -> Site:
    """Read and check a site file; ConfigError names every problem with its key path."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"no site file at `{path}`", hint="run `kmuctl init` first, or name it: `--site FILE`"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"`{path}` is a folder", hint=f"name the file in it: `--site {path}/{SITE_FILE}`") from None
    except UnicodeDecodeError:
        raise ConfigError(f"`{path}` is not UTF-8 text", hint="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot read `{path}`: {error.strerror}", hint="check the file's owner and mode") from None
    return read_site(text, names, path=str(path))


def read_site(text: str, names: Names, *, path: str) -> Site:
    try:
        data = parse_toml(text).unwrap()
    except (TOMLKitError, ValueError) as error:  # an endless number is none of TOML's own errors
        reason = f"`{path}` is not valid TOML: {toml_fault(text) or error}"
        raise ConfigError(reason, hint="mend that place; the commented example is in the README") from None
    return check_site(data, names, path=path)


def with_address(site: Site, address: str) -> Site:
    """The same site, its host reached another way: `--host`."""
    try:
        table = site.host.model_copy(update={"address": host_address(address)})
    except ValueError as error:
        raise ConfigError(f"--host: `{address}` {error}") from None
    return site.model_copy(update={"host": table})


def check_site(data: dict[str, Any], names: Names, *, path: str) -> Site:
    faults = _catalog_faults(data, names)
    try:
        site = Site.model_validate(data)
    except ValidationError as error:
        faults = [explain(detail, Site) for detail in error.errors()] + faults
    else:
        faults += _cross_faults(site)
    if faults:
        raise Problems(f"`{path}` is not a valid site file", faults, hint=FILE_HINT)
    return site


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _catalog_faults(data: dict[str, Any], names: Names) -> list[str]:
    apps, images, sites = (_table(data, key) for key in ("apps", "images", "sites"))
    return [
        *(
            f"apps.{app}: no such app; known: {', '.join(sorted(names.apps))}"
            for app in apps
            if app not in names.apps | names.essential
        ),
        *(f"apps.{app}: cannot be switched off" for app, on in apps.items() if app in names.essential and on is False),
        *(f"images.{name}: no such container" for name in images if name not in names.containers),
        *(f"sites.{host}: is taken by the stack itself" for host in sites if host in names.hosts),
        *(f"sites.{host}: is not a host name" for host in sites if not LABEL.fullmatch(host)),
    ]


def _cross_faults(site: Site) -> list[str]:
    faults: list[str] = []
    if site.tls.mode == "files" and not (site.tls.certificate and site.tls.key):
        faults.append('tls.mode: "files" needs tls.certificate and tls.key')
    if site.tls.mode == "off" and bool(site.tls.certificate) != bool(site.tls.key):
        faults.append("tls: `certificate` and `key` go together")
    if site.tls.mode == "acme" and site.domain.rsplit(".", 1)[1] in {"test", "local", "localhost", "internal", "lan"}:
        faults.append(f'tls.mode: no public certificate exists for `{site.domain}`: use "internal"')
    for host in site.sites:
        if len(site.fqdn(host)) > HOST_LENGTH:
            faults.append(f"sites.{host}: is too long: with the domain at most {HOST_LENGTH} characters fit")
    for network in site.network.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            faults.append(f"network.trusted_proxies: `{network}` is not an address or network")
    return faults
