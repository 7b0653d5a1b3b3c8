"""DOUBLE of Jitsi's web container: renders config.js and nginx.conf from the environment, then becomes nginx."""

import json
import os
import re
import sys
from pathlib import Path

from environment import check_config_folder, check_environment, check_run_folder, fatal

HERE = Path(__file__).parent
CONFIG = Path("/config")
RUN = Path("/run/web")
ALLOWED = (
    r"custom-config\.js|custom-interface_config\.js|nginx/custom-meet\.conf"
    r"|nginx-custom/[^/]+\.conf|keys/cert\.(crt|key)"
)
TRUE = {"1", "t", "T", "true", "TRUE", "True"}


def text(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


def is_on(name: str, default: str) -> bool:
    return text(name, default) in TRUE


def script(value: object) -> str:
    """JavaScript in single quotes, as upstream's templates write it."""
    if isinstance(value, str):
        return "'" + value + "'"
    return json.dumps(value)


def settings() -> dict[str, object]:
    domain = text("XMPP_DOMAIN", "meet.jitsi")
    public = text("PUBLIC_URL", "https://localhost:8443").rstrip("/")
    values: dict[str, object] = {
        "hosts.domain": domain,
        "hosts.muc": text("XMPP_MUC_DOMAIN", "muc.meet.jitsi"),
        "bosh": "/http-bind" if is_on("BOSH_RELATIVE", "0") else public + "/http-bind",
        "p2p.enabled": is_on("ENABLE_P2P", "1"),
        "prejoinConfig.enabled": is_on("ENABLE_PREJOIN_PAGE", "1"),
        "enableWelcomePage": is_on("ENABLE_WELCOME_PAGE", "1"),
    }
    return values | authentication(domain) | optional(public)


def authentication(domain: str) -> dict[str, object]:
    if not is_on("ENABLE_AUTH", "0"):
        return {}
    guests = (
        {"hosts.anonymousdomain": text("XMPP_GUEST_DOMAIN", "guest.meet.jitsi")} if is_on("ENABLE_GUESTS", "0") else {}
    )
    return {"hosts.authdomain": domain, **guests}


def optional(public: str) -> dict[str, object]:
    values: dict[str, object] = {}
    if is_on("ENABLE_XMPP_WEBSOCKET", "1"):
        values["websocket"] = public.replace("https://", "wss://") + "/xmpp-websocket"
    if text("TOKEN_AUTH_URL"):
        values["tokenAuthUrl"] = text("TOKEN_AUTH_URL")
    if text("DEFAULT_LANGUAGE"):
        values["defaultLanguage"] = text("DEFAULT_LANGUAGE")
    if text("P2P_STUN_SERVERS"):
        values["p2p.stunServers"] = [{"urls": f"stun:{server}"} for server in text("P2P_STUN_SERVERS").split(",")]
    return values


def config_js() -> str:
    lines = [
        "// DOUBLE: only what the deployment depends on",
        "var config = {hosts: {}, p2p: {}, prejoinConfig: {}};",
    ]
    for name, value in settings().items():
        if isinstance(value, str) and re.search(r"['\\\n]", value):
            fatal(f"config.{name}: {value!r} breaks the single quotes of config.js")
        lines.append(f"config.{name} = {script(value)};")
    return "\n".join([*lines, read(CONFIG / "custom-config.js")]) + "\n"


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def resolver() -> str:
    if text("NGINX_RESOLVER"):
        return text("NGINX_RESOLVER")
    servers = re.findall(r"^nameserver\s+(\S+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    return " ".join(f"[{server}]" if ":" in server else server for server in servers) or "127.0.0.11"


PROXY = """
    location ~ ^/([^/]+/)?(http-bind|xmpp-websocket)$ {
        set $prosody "@BOSH@";
        set $target /$2;
        proxy_pass $prosody$target$is_args$args;
        proxy_http_version 1.1;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Host @DOMAIN@;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_read_timeout 900s;
        proxy_buffering off;
        tcp_nodelay on;
    }
"""

NGINX = """
daemon off;
pid /run/web/nginx.pid;
error_log stderr warn;
worker_processes @WORKERS@;
events { worker_connections @CONNECTIONS@; }
http {
  include /etc/nginx/mime.types;
  default_type text/html;
  log_format plain '$remote_addr $request_method $uri $status $http_user_agent';
  access_log /dev/stdout plain;
  client_body_temp_path /run/web/body; proxy_temp_path /run/web/proxy; fastcgi_temp_path /run/web/fastcgi;
  uwsgi_temp_path /run/web/uwsgi; scgi_temp_path /run/web/scgi;
  resolver @RESOLVER@;
  client_max_body_size 0;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 8000;
    @LISTEN6@
    root /usr/share/jitsi-meet;
    add_header X-Content-Type-Options nosniff always;
    add_header X-XSS-Protection "1; mode=block" always;
    add_header Permissions-Policy "interest-cohort=()" always;
    @CSP@
    @REDIRECT@
    @INCLUDES@
    location = /config.js { alias /run/web/config/config.js; default_type application/javascript; }
    location = /interface_config.js { alias /run/web/config/interface_config.js; default_type application/javascript; }
    location ~ ^/(libs|static|images|\\.well-known)/ { try_files $uri =404; }
    location = /external_api.js { return 404; }
    @PROXY@
    location / { try_files /index.html =404; }
    @CUSTOM@
  }
}
"""


def nginx_conf() -> str:
    csp = text("CSP_HEADER").replace('"', '\\"')
    parts = {
        "@PROXY@": PROXY,
        "@BOSH@": text("XMPP_BOSH_URL_BASE", "http://xmpp.meet.jitsi:5280"),
        "@DOMAIN@": text("XMPP_DOMAIN", "meet.jitsi"),
        "@WORKERS@": text("NGINX_WORKER_PROCESSES", "4"),
        "@CONNECTIONS@": text("NGINX_WORKER_CONNECTIONS", "768"),
        "@RESOLVER@": resolver(),
        "@LISTEN6@": "listen [::]:8000;" if is_on("ENABLE_IPV6", "1") else "",
        "@CSP@": f'add_header Content-Security-Policy "{csp}" always;' if csp else "",
        "@REDIRECT@": "return 301 https://$host$request_uri;" if is_on("ENABLE_HTTP_REDIRECT", "0") else "",
        "@INCLUDES@": "include /config/nginx-custom/*.conf;",
        "@CUSTOM@": read(CONFIG / "nginx/custom-meet.conf"),
    }
    result = NGINX
    for mark, value in parts.items():
        result = result.replace(mark, value)
    return result


def write_files() -> None:
    (RUN / "config").mkdir(parents=True, exist_ok=True)
    (RUN / "config/config.js").write_text(config_js())
    (RUN / "config/interface_config.js").write_text(
        "var interfaceConfig = {};\n" + read(CONFIG / "custom-interface_config.js")
    )
    (RUN / "config/nginx.conf").write_text(nginx_conf())


def main() -> None:
    print("DOUBLE of Jitsi web, not the real program", file=sys.stderr, flush=True)
    check_environment(HERE / "variables.txt")
    check_run_folder()
    check_config_folder(ALLOWED)
    if text("DISABLE_HTTPS", "0") != "1":
        fatal("DISABLE_HTTPS is not 1: the real one would demand a writable /storage; this double has no TLS listener")
    write_files()
    os.execvp("nginx", ["nginx", "-e", "stderr", "-c", "/run/web/config/nginx.conf"])


if __name__ == "__main__":
    main()
