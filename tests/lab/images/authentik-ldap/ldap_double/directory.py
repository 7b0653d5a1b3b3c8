"""What the outpost knows: its configuration from the server, the tree it shows, and who may bind."""

import re
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from . import VERSION
from .ber import Attributes

Entries = list[tuple[str, Attributes]]
USER_CLASSES = [
    "top",
    "person",
    "organizationalPerson",
    "inetOrgPerson",
    "user",
    "posixAccount",
    "goauthentik.io/ldap/user",
]
GROUP_CLASSES = ["group", "groupOfNames", "groupOfUniqueNames", "posixGroup", "goauthentik.io/ldap/group"]
UNITS = {"hours": 3600, "minutes": 60, "seconds": 1}


class Fatal(Exception):
    """The real program exits and waits for its container to be restarted."""


class Refused(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Bound:
    name: str
    everything: bool


@dataclass
class Directory:
    host: str
    token: str
    insecure: bool
    provider: dict[str, Any] = field(default_factory=dict)
    refresh: int = 300
    cached: tuple[float, Entries] = (0, [])
    good: dict[tuple[str, str], Bound] = field(default_factory=dict)

    def client(self, **headers: str) -> httpx.Client:
        agent = {"User-Agent": f"goauthentik.io/outpost/{VERSION}", "X-Double-Hostname": socket.gethostname()}
        base = self.host.rstrip("/") + "/api/v3"
        return httpx.Client(
            base_url=base, headers={**agent, **headers}, verify=not self.insecure, timeout=10, follow_redirects=True
        )

    def api(self) -> httpx.Client:
        return self.client(Authorization=f"Bearer {self.token}")

    @property
    def base(self) -> str:
        return str(self.provider["base_dn"])

    def poll(self) -> None:
        """Once every few seconds; stands for the websocket of the real outpost."""
        with self.api() as api:
            outposts = _results(api, "/outposts/instances/")
            if not outposts:
                raise Fatal("panic: this token sees no outpost")
            self.refresh = _seconds(outposts[0]["config"].get("refresh_interval", "minutes=5"))
            providers = _results(api, "/outposts/ldap/")
        if not providers:
            raise Fatal("no ldap provider defined")
        if self.provider and self.provider != providers[0]:
            self.cached = (0, [])
        self.provider = providers[0]

    def connect(self) -> None:
        while True:
            try:
                self.poll()
            except httpx.HTTPError as error:
                print(f"cannot reach {self.host}: {error}; next try in 3 s", file=sys.stderr, flush=True)
                time.sleep(3)
            else:
                return

    def bind(self, name: str, password: str) -> Bound:
        match = re.match(r"cn=([^,]+),", name, re.IGNORECASE)
        if match is None or not name.lower().endswith(self.base.lower()) or not password:
            raise Refused(49, "invalid credentials")
        kept = self.good.get((name, password))
        if kept and self.provider.get("bind_mode") == "cached":
            return kept
        if self.provider.get("mfa_support", True):
            password = password.partition(";")[0]
        bound = self._run_flow(match[1], password)
        self.good[(name, password)] = bound
        return bound

    def _run_flow(self, username: str, password: str) -> Bound:
        flow = f"/flows/executor/{self.provider['bind_flow_slug']}/"
        with self.client() as browser:
            browser.get(flow).raise_for_status()
            browser.post(flow, json={"uid_field": username}).raise_for_status()
            answer = browser.post(flow, json={"password": password})
            if answer.json().get("component") != "xak-flow-redirect":
                raise Refused(49, "invalid credentials")
            if browser.get("/core/users/me/").status_code != 200:
                raise Refused(1, "failed to get user info: the bind flow has no login stage")
            path = f"/outposts/ldap/{self.provider['pk']}/check_access/"
            access = browser.get(path, params={"app_slug": self.provider["application_slug"]})
        access.raise_for_status()
        if not access.json()["access"]["passing"]:
            raise Refused(50, "access denied by the application's policies")
        return Bound(username, bool(access.json()["has_search_permission"]))

    def entries(self) -> Entries:
        taken, known = self.cached
        fresh = self.provider.get("search_mode") == "cached" and time.monotonic() - taken < self.refresh
        if not taken or not fresh:
            self.cached = (time.monotonic(), known := self._fetch())
        return known

    def _fetch(self) -> Entries:
        with self.api() as api:
            groups = _results(api, "/core/groups/")
            users = _results(api, "/core/users/")
        names = {user["pk"]: user["username"] for user in users}
        return [self._user(user, groups) for user in users] + [self._group(group, names) for group in groups]

    def _user(self, user: dict[str, Any], groups: list[dict[str, Any]]) -> tuple[str, Attributes]:
        member = [f"cn={group['name']},ou=groups,{self.base}" for group in groups if group["pk"] in user["groups"]]
        number = str(self.provider.get("uid_start_number", 2000) + user["pk"])
        attributes: Attributes = {
            "cn": [user["username"]],
            "sAMAccountName": [user["username"]],
            "uid": [user["uid"]],
            "name": [user["name"]],
            "displayName": [user["name"]],
            "sn": [user["name"]],
            "mail": [user["email"]],
            "memberOf": member,
            "uidNumber": [number],
            "gidNumber": [number],
            "homeDirectory": [f"/home/{user['username']}"],
            "ak-active": [str(user["is_active"]).upper()],
            "ak-superuser": [str(user["is_superuser"]).upper()],
            "objectClass": USER_CLASSES,
        }
        for key, value in user["attributes"].items():
            attributes[key] = [str(item) for item in value] if isinstance(value, list) else [str(value)]
        return f"cn={user['username']},ou=users,{self.base}", _filled(attributes)

    def _group(self, group: dict[str, Any], names: dict[int, str]) -> tuple[str, Attributes]:
        members = [f"cn={names[key]},ou=users,{self.base}" for key in group["users"] if key in names]
        attributes: Attributes = {
            "cn": [group["name"]],
            "sAMAccountName": [group["name"]],
            "uid": [group["pk"]],
            "member": members,
            "gidNumber": [str(group["num_pk"])],
            "objectClass": GROUP_CLASSES,
        }
        return f"cn={group['name']},ou=groups,{self.base}", _filled(attributes)


def _filled(attributes: Attributes) -> Attributes:
    return {key: values for key, values in attributes.items() if values and values != [""]}


def _seconds(duration: str) -> int:
    """Durations as Authentik writes them: "minutes=5;seconds=30"."""
    parts = [part.split("=") for part in duration.split(";")]
    return sum(UNITS[name] * int(value) for name, value in parts)


def _results(api: httpx.Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = 1
    while page:
        answer = api.get(path, params={"page": page, "page_size": 100}).raise_for_status().json()
        found += answer["results"]
        page = answer["pagination"]["next"]
    return found
