"""DOUBLE of Element Web: copies and checks the configuration as the container and the browser would, then is nginx."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

APP = Path("/app")
SERVED = Path("/tmp/element-web-config")  # where the real entrypoint puts it
CONF_D = Path("/etc/nginx/conf.d")
ENVIRONMENT = {
    "PATH",
    "HOME",
    "HOSTNAME",
    "LANG",
    "LC_CTYPE",
    "TERM",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "TZ",
    "DEBIAN_FRONTEND",
    "ELEMENT_WEB_PORT",
}
HOMESERVER = ("default_server_config", "default_server_name", "default_hs_url")
KEYS = {
    *HOMESERVER,
    *(
        "disable_custom_urls",
        "disable_guests",
        "disable_3pid_login",
        "disable_login_language_selector",
        "brand",
    ),
    *(
        "default_theme",
        "default_country_code",
        "permalink_prefix",
        "sso_redirect_options",
        "logout_redirect_url",
    ),
    *(
        "integrations_ui_url",
        "integrations_rest_url",
        "integrations_widgets_urls",
        "show_labs_settings",
        "features",
    ),
    *("room_directory", "branding", "setting_defaults", "jitsi", "mobile_guide_toast", "force_verification"),
    *("element_call", "default_federate", "help_url", "terms_and_conditions_links", "embedded_pages"),
}
SUBKEYS = {
    "sso_redirect_options": {"immediate", "on_welcome_page", "on_login_page"},
    "room_directory": {"servers"},
    "branding": {"auth_header_logo_url", "auth_footer_links", "welcome_background_url", "logo_link_url"},
    "jitsi": {"preferred_domain"},
    "element_call": {"guest_spa_url", "use_exclusively", "brand"},
    "default_server_config": {"m.homeserver", "m.identity_server"},
}
FEATURES = {
    "registration",
    "passwordReset",
    "deactivate",
    "identityServer",
    "feedback",
    "urlPreviews",
    "widgets",
    "voip",
    "locationSharing",
    "shareQrCode",
    "shareSocial",
    "thirdPartyId",
    "advancedSettings",
    "advancedEncryption",
    "roomHistorySettings",
    "timelineEnableRelativeDates",
    "allowCreatingPublicRooms",
    "allowCreatingPublicSpaces",
    "allowChatExport",
}
PAGE = """\
server {{
  listen {port};
  root /app;
  add_header Cache-Control "no-cache";
  location ~ ^/config(\\.[^/]+)?\\.json$ {{ root {served}; default_type application/json; }}
  location / {{ try_files $uri /index.html =404; }}
}}
"""
NGINX = """\
daemon off;
pid /tmp/nginx.pid;
worker_processes 1;
events {}
http {
  include /etc/nginx/mime.types;
  access_log /dev/stdout;
  client_body_temp_path /var/cache/nginx/body; proxy_temp_path /var/cache/nginx/proxy;
  fastcgi_temp_path /var/cache/nginx/fastcgi;
  uwsgi_temp_path /var/cache/nginx/uwsgi; scgi_temp_path /var/cache/nginx/scgi;
  include /etc/nginx/conf.d/*.conf;
}
"""


def fatal(message: str) -> NoReturn:
    print(f"FATAL ERROR: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def problems(config: Any) -> Iterator[str]:
    if not isinstance(config, dict):
        yield "config.json is not an object"
        return
    for key in config.keys() - KEYS:
        hint = "snake_case is the name now" if re.search(r"[A-Z]", key) else "unknown key"
        yield f"{key}: {hint}"
    if len([key for key in HOMESERVER if key in config]) != 1:
        yield f"exactly one of {', '.join(HOMESERVER)} must be given"
    yield from nested_problems(config)
    yield from homeserver_problems(config.get("default_server_config"))


def nested_problems(config: dict[str, Any]) -> Iterator[str]:
    for key, known in SUBKEYS.items():
        value = config.get(key, {})
        if not isinstance(value, dict):
            yield f"{key}: must be an object"
            continue
        for name in value.keys() - known:
            yield f"{key}.{name}: unknown key"
    for name in config.get("setting_defaults", {}):
        if name.startswith("UIFeature.") and name.removeprefix("UIFeature.") not in FEATURES:
            yield f"setting_defaults: {name} is no UIFeature"


def homeserver_problems(servers: Any) -> Iterator[str]:
    if servers is None:
        return
    homeserver = servers.get("m.homeserver") if isinstance(servers, dict) else None
    if not isinstance(homeserver, dict) or homeserver.keys() != {"base_url", "server_name"}:
        yield "default_server_config.m.homeserver: needs exactly base_url and server_name"
    elif not re.fullmatch(r"https?://[^/\s]+", str(homeserver["base_url"])):
        yield f"default_server_config.m.homeserver.base_url: {homeserver['base_url']!r} is no base URL"


def check(path: Path) -> None:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        fatal(f"{path}: invalid JSON: {error}")
    found = sorted(problems(config))
    if found:
        fatal(f"{path}: " + "; ".join(found))


def copy_configuration() -> None:
    SERVED.mkdir(parents=True, exist_ok=True)
    for path in sorted(APP.glob("config*.json")):
        check(path)
        shutil.copyfile(path, SERVED / path.name)


def write_nginx(port: str) -> None:
    if not os.access(CONF_D, os.W_OK):
        fatal(f"{CONF_D} is not writable: mount a tmpfs with uid=101 here, on /var/cache/nginx and on /var/run")
    (CONF_D / "default.conf").write_text(PAGE.format(port=port, served=SERVED))
    Path("/tmp/nginx.conf").write_text(NGINX)


def main() -> None:
    print("DOUBLE of Element Web, not the real program", file=sys.stderr, flush=True)
    unknown = sorted(os.environ.keys() - ENVIRONMENT)
    port = os.environ["ELEMENT_WEB_PORT"]
    if unknown or not port.isdigit():
        fatal(f"unknown variables: {', '.join(unknown)}" if unknown else f"ELEMENT_WEB_PORT={port!r} is no port")
    copy_configuration()
    write_nginx(port)
    os.execvp("nginx", ["nginx", "-e", "stderr", "-c", "/tmp/nginx.conf"])


if __name__ == "__main__":
    main()
