"""The admin panel, from this project's own image."""

from kmuctl import __version__
from kmuctl.model.service import Container, Network, Proxy, Route, Service, secrets

SERVICE = Service(
    name="panel",
    title="Administration",
    containers=(Container(name="panel", image=f"kmuctl-panel:{__version__}", uid=10001, memory=160),),
    needs=("authentik",),
    routes=(Route("admin", "panel", 8000),),
    networks=(Network("panel", 9), Network("people", 11)),
    secrets=secrets("panel_session_secret"),
    login=Proxy(),
    admins_only=True,
    launcher={"de": "Verwaltung", "en": "Administration"},
    deadline=90,
)
