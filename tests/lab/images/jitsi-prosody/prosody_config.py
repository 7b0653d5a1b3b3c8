"""prosody.cfg.lua from the variables that upstream's image reads, with the modules that Debian ships."""

from __future__ import annotations

from collections.abc import Mapping

GLOBAL_MODULES = ["roster", "saslauth", "tls", "disco", "private", "limits", "ping", "admin_shell"]
FALSE = {"0", "f", "F", "false", "FALSE", "False"}


class Settings:
    """Upstream's reading of its variables: an empty one is the default, any other text than a boolean is true."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    def text(self, name: str, default: str = "") -> str:
        return self.environment.get(name) or default

    def true(self, name: str, default: bool = False) -> bool:
        value = self.text(name)
        return default if not value else value not in FALSE

    def words(self, name: str, default: str = "") -> list[str]:
        return [word.strip() for word in self.text(name, default).split(",") if word.strip()]

    def domain(self, name: str) -> str:
        prefix = name.removeprefix("XMPP_").removesuffix("DOMAIN").rstrip("_").lower().replace("_", "-")
        return self.text(name, f"{prefix}.meet.jitsi" if prefix else "meet.jitsi")


def quoted(values: list[str]) -> str:
    return "{ " + "; ".join(f'"{value}"' for value in values) + " }"


def render(settings: Settings) -> str:
    return "\n".join([*global_part(settings), *external_services(settings), *hosts(settings), *rooms(settings)]) + "\n"


def global_part(settings: Settings) -> list[str]:
    modules = [*GLOBAL_MODULES, "bosh", *settings.words("GLOBAL_MODULES")]
    if settings.true("ENABLE_XMPP_WEBSOCKET", True):
        modules += ["websocket", "smacks"]
    if settings.text("TURN_HOST") or settings.text("TURNS_HOST"):
        modules.append("external_services")
    interfaces = ["*", "::"] if settings.true("ENABLE_IPV6", True) else ["*"]
    return [
        'plugin_paths = { "/prosody-plugins/"; "/prosody-plugins-custom/" }',
        'data_path = "/var/lib/prosody/data"',
        'pidfile = "/run/prosody/prosody.pid"',
        'admin_socket = "/run/prosody/prosody.sock"',
        'certificates = "/run/prosody/config/certs"',
        'prosody_user = "s6"',
        f"modules_enabled = {quoted(modules)}",
        f"modules_disabled = {quoted([] if settings.true('PROSODY_ENABLE_S2S') else ['s2s'])}",
        f"admins = {quoted(service_accounts(settings))}",
        f"interfaces = {quoted(interfaces)}",
        f"http_interfaces = {quoted(interfaces)}",
        f"http_ports = {{ {settings.text('PROSODY_HTTP_PORT', '5280')} }}",
        "https_ports = { }",
        f'http_default_host = "{settings.domain("XMPP_DOMAIN")}"',
        f"c2s_ports = {{ {settings.text('XMPP_PORT', '5222')} }}",
        f"c2s_require_encryption = {lua(settings.true('PROSODY_C2S_REQUIRE_ENCRYPTION', True))}",
        "consider_bosh_secure = true",
        "consider_websocket_secure = true",
        f"trusted_proxies = {quoted(settings.words('PROSODY_TRUSTED_PROXIES', '127.0.0.1,::1'))}",
        f'limits = {{ c2s = {{ rate = "{settings.text("PROSODY_C2S_LIMIT", "10kb/s")}" }} }}',
        f'log = {{ {{ levels = {{ min = "{settings.text("LOG_LEVEL", "info")}" }}, to = "console" }} }}',
        'storage = { muc = "memory" }',
    ]


def service_accounts(settings: Settings) -> list[str]:
    domain = settings.domain("XMPP_AUTH_DOMAIN")
    return [f"focus@{domain}", f"{settings.text('JVB_AUTH_USER', 'jvb')}@{domain}"]


def lua(value: bool) -> str:
    return "true" if value else "false"


def external_services(settings: Settings) -> list[str]:
    login = 'secret = true, algorithm = "turn"'
    if not settings.text("TURN_CREDENTIALS"):
        login = f'username = "{settings.text("TURN_USERNAME")}", password = "{settings.text("TURN_PASSWORD")}"'
    ttl = settings.text("TURN_TTL", "86400")
    entries = [
        entry("turn", host, settings.text("TURN_PORT", "443"), transport, f"{login}, ttl = {ttl}")
        for host in settings.words("TURN_HOST")
        for transport in settings.words("TURN_TRANSPORT", "tcp")
    ]
    for host in settings.words("TURNS_HOST"):
        entries.append(entry("turns", host, settings.text("TURNS_PORT", "443"), "tcp", f"{login}, ttl = {ttl}"))
    for host in settings.words("STUN_HOST"):
        entries.append(entry("stun", host, settings.text("STUN_PORT", "443"), "udp"))
    return [
        f'external_service_secret = "{settings.text("TURN_CREDENTIALS")}"',
        "external_services = {",
        *entries,
        "}",
    ]


def entry(kind: str, host: str, port: str, transport: str, more: str = "") -> str:
    return f'  {{ type = "{kind}", host = "{host}", port = {port}, transport = "{transport}", {more} }};'


def hosts(settings: Settings) -> list[str]:
    lines = [
        f'VirtualHost "{settings.domain("XMPP_DOMAIN")}"',
        # Upstream says "token" for jwt. That plugin is missing: a host whose only accounts nobody has refuses all.
        f'  authentication = "{"internal_hashed" if settings.true("ENABLE_AUTH") else "anonymous"}"',
        '  modules_enabled = { "http_health" }',
    ]
    if settings.true("ENABLE_AUTH") and settings.true("ENABLE_GUESTS"):
        lines += [f'VirtualHost "{settings.domain("XMPP_GUEST_DOMAIN")}"', '  authentication = "anonymous"']
    return [
        *lines,
        f'VirtualHost "{settings.domain("XMPP_AUTH_DOMAIN")}"',
        '  authentication = "internal_hashed"',
        f"  unlimited_jids = {quoted(service_accounts(settings))}",
    ]


def rooms(settings: Settings) -> list[str]:
    return [
        f'Component "{settings.domain("XMPP_INTERNAL_MUC_DOMAIN")}" "muc"',
        "  muc_room_locking = false",
        "  muc_room_default_public_jids = true",
        f'Component "{settings.domain("XMPP_MUC_DOMAIN")}" "muc"',
        "  restrict_room_creation = true",
        "  muc_room_locking = false",
    ]
