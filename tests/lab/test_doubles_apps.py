"""The application doubles, as far as they can be judged without Docker: they must refuse what they do not know."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

IMAGES = Path(__file__).parent / "images"
JITSI = ("jitsi-web", "jitsi-jicofo", "jitsi-jvb")
OTHER_FOLDERS = ("nextcloud", "element", "dozzle", "dozzle-proxy")


@contextmanager
def import_path(*folders: Path) -> Iterator[None]:
    before, sys.path = sys.path, [*map(str, folders), *sys.path]
    try:
        yield
    finally:
        sys.path = before
        for name in ("environment", "xmpp"):
            sys.modules.pop(name, None)


def load(folder: str, file: str) -> ModuleType:
    path = IMAGES / folder / file
    name = f"double_{folder}_{path.stem}".replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with import_path(path.parent, IMAGES / "jitsi"), no_bytecode():
        loader.exec_module(module)
    return module


@contextmanager
def no_bytecode() -> Iterator[None]:
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@pytest.mark.parametrize("folder", [*JITSI, *OTHER_FOLDERS])
def test_says_that_it_is_a_double(folder: str) -> None:
    texts = "".join(path.read_text() for path in (IMAGES / folder).iterdir() if path.is_file())
    assert "DOUBLE of" in texts
    assert "not the real program" in texts


@pytest.mark.parametrize(
    ("folder", "name", "value", "part"),
    [
        ("jitsi-web", "ENABLE_COLIBRI_WEBSOCKET", "0", "removed"),
        ("jitsi-web", "JWT_APP_SECRET", "abc", "does not read"),
        ("jitsi-web", "DISABLE_HTTPS", "true", "literally"),
        ("jitsi-web", "ENABLE_AUTH", "no", "counts as true"),
        ("jitsi-web", "PUBLIC_URL", "https://meet.acme.example/path", "does not look like"),
        ("jitsi-jicofo", "AUTH_TYPE", "JWT", "must be one of"),
        ("jitsi-jicofo", "JICOFO_AUTH_PASSWORD", "a b", "survive"),
        ("jitsi-jvb", "PUBLIC_URL", "https://meet.acme.example", "does not read"),
        ("jitsi-jvb", "JVB_ADVERTISE_IPS", "turn.acme.example", "no IP address"),
    ],
)
def test_jitsi_refuses(folder: str, name: str, value: str, part: str) -> None:
    module = load("jitsi", "environment.py")
    known = module.read_variables(IMAGES / folder / "variables.txt")
    assert part in " ".join(module.problems({name: value}, known))


def test_jitsi_accepts_a_sound_environment() -> None:
    module = load("jitsi", "environment.py")
    known = module.read_variables(IMAGES / "jitsi-jvb/variables.txt")
    environment = {
        "JVB_AUTH_PASSWORD": "ab12",
        "JVB_ADVERTISE_IPS": "203.0.113.7,2001:db8::1",
        "TZ": "Europe/Berlin",
        "PATH": "/bin",
    }
    assert module.problems(environment, known) == []


def test_config_js_holds_the_derived_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PUBLIC_URL": "https://meet.acme.example",
        "ENABLE_AUTH": "1",
        "ENABLE_GUESTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    text = load("jitsi-web", "web.py").config_js()
    assert "config.hosts.anonymousdomain = 'guest.meet.jitsi';" in text
    assert "config.websocket = 'wss://meet.acme.example/xmpp-websocket';" in text


def test_stun_answer_names_the_sender() -> None:
    module = load("jitsi-jvb", "jvb.py")
    reply = module.answer(module.binding_request(b"x" * 12), ("203.0.113.7", 40000))
    port = int.from_bytes(reply[26:28], "big") ^ (module.COOKIE >> 16)
    host = bytes(a ^ b for a, b in zip(reply[28:32], module.COOKIE.to_bytes(4, "big"), strict=True))
    assert (reply[:2], port, host) == (b"\x01\x01", 40000, bytes([203, 0, 113, 7]))
    assert module.answer(b"media", ("203.0.113.7", 40000)) is None


def element_config() -> dict[str, object]:
    server = {"base_url": "https://matrix.acme.example", "server_name": "acme.example"}
    return {
        "default_server_config": {"m.homeserver": server},
        "jitsi": {"preferred_domain": "meet.acme.example"},
    }


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"showLabsSettings": True}, "snake_case"),
        ({"no_such_key": 1}, "unknown key"),
        ({"default_server_name": "acme.example"}, "exactly one"),
        ({"jitsi": {"preferredDomain": "meet.acme.example"}}, "jitsi.preferredDomain"),
        ({"setting_defaults": {"UIFeature.none": False}}, "no UIFeature"),
        ({"default_server_config": {"m.homeserver": {"base_url": "matrix"}}}, "needs exactly"),
    ],
)
def test_element_refuses(change: dict[str, object], part: str) -> None:
    module = load("element", "element.py")
    assert list(module.problems(element_config())) == []
    assert part in " ".join(module.problems(element_config() | change))


READ_ONLY = (
    r"-allowGET=(/v1\.[0-9]{2})?/(_ping|version|info|events|containers/json"
    r"|containers/[a-zA-Z0-9_.-]+/(json|logs|stats))"
)


def proxy(*arguments: str) -> object:
    module = load("dozzle-proxy", "socket-proxy")
    options = module.Options()
    module.read_arguments(options, list(arguments))
    module.check_values(options)
    return module.Proxy(options)


@pytest.mark.parametrize(
    ("method", "target", "answer"),
    [
        ("GET", "/v1.41/containers/json?all=1", None),
        ("GET", "/v1.41/containers/abc/logs?follow=1", None),
        ("GET", "/v1.41/containers/abc/archive?path=/etc", "403 Forbidden"),
        ("GET", "/v1.41/containers/%2e%2e/%2e%2e/secrets", "403 Forbidden"),
        ("GET", "/v1.41/images/json", "403 Forbidden"),
        ("POST", "/v1.41/containers/abc/stop", "405 Method Not Allowed"),
    ],
)
def test_proxy_lets_only_reading_pass(method: str, target: str, answer: str | None) -> None:
    assert proxy(READ_ONLY).refusal("127.0.0.1", method, target) == answer  # type: ignore[attr-defined]


def test_proxy_refuses_other_clients() -> None:
    assert proxy(READ_ONLY).refusal("192.0.2.1", "GET", "/_ping") == "403 Forbidden"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "argument",
    ["-allowPOTS=/x", "-listenip=here", "-allowGET=/a|/b", "-allowGET=(?!x)", "-proxyport=x", "word"],
)
def test_proxy_refuses_to_start(argument: str) -> None:
    with pytest.raises(SystemExit):
        proxy(argument)


def run_dozzle(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(IMAGES / "dozzle/dozzle")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"DOZZLE_USERNAME": "x"}, "unexpected environment variable"),
        ({"DOZZLE_ENABLE_SHELL": "no"}, "no boolean"),
        ({"DOZZLE_AUTH_PROVIDER": "proxy"}, "this double takes"),
        ({"DOCKER_HOST": "unix:///var/run/docker.sock"}, "no tcp:// address"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, "Could not connect"),
    ],
)
def test_dozzle_refuses(environment: dict[str, str], part: str) -> None:
    result = run_dozzle(**environment)
    assert result.returncode == 1
    assert part in result.stderr


php = pytest.mark.skipif(shutil.which("php") is None, reason="needs php")
SOURCE = IMAGES / "nextcloud/source"


def nextcloud(root: Path, extra: str) -> Path:
    shutil.copytree(SOURCE, root, dirs_exist_ok=True)
    (root / "version.php").write_text("<?php $OC_Version = array(34,0,4,1); $OC_VersionString = '34.0.4';")
    (root / "config/zz-kmu.config.php").write_text(f"<?php\n$CONFIG = array({extra});\n")
    return root


def run_php(root: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"require '{root}/double/instance.php'; {code}"
    return subprocess.run(
        ["php", "-r", program],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@php
def test_nextcloud_extra_file_wins_over_the_image(tmp_path: Path) -> None:
    root = nextcloud(tmp_path, "'overwriteprotocol' => 'https', 'trusted_domains' => array('cloud.acme.example')")
    result = run_php(
        root,
        f"echo json_encode((new Instance('{root}'))->config->values);",
        OVERWRITEPROTOCOL="http",
        REDIS_HOST="valkey",
    )
    values = json.loads(result.stdout)
    assert values["overwriteprotocol"] == "https"
    assert values["redis"]["host"] == "valkey"


@php
@pytest.mark.parametrize(
    ("extra", "part"),
    [
        ("'trusted_domain' => array('x')", "unknown system config key"),
        ("'user_oidc' => array('soft_autoprovision' => false)", "user_oidc.soft_autoprovision"),
        ("'mail_smtpsecure' => 'tls'", "mail_smtpsecure"),
        ("'config_is_read_only' => true", "config_is_read_only"),
        ("'trusted_proxies' => array('caddy')", "no address or network"),
        ("'a' =>", "unexpected"),
    ],
)
def test_nextcloud_refuses_a_bad_file(tmp_path: Path, extra: str, part: str) -> None:
    root = nextcloud(tmp_path, extra)
    result = run_php(root, f"try {{ new Instance('{root}'); }} catch (ConfigError $e) {{ echo $e->getMessage(); }}")
    assert part in result.stdout


@php
@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"REDIS_HOST": "valkey", "REDIS_HOST_PASSWORD_FILE": "/run/secrets/x"}, 0),
        ({"NEXTCLOUD_ADMIN_USR": "admin"}, 1),
        ({"POSTGRES_PASSWORD": "x", "POSTGRES_PASSWORD_FILE": "/y"}, 1),
        ({"SMTP_SECURE": "tls"}, 1),
    ],
)
def test_nextcloud_checks_its_environment(environment: dict[str, str], code: int) -> None:
    command = ["php", str(SOURCE / "double/environment.php")]
    result = subprocess.run(command, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, check=False)
    assert result.returncode == code
