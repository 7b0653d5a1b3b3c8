"""Dozzle: the containers' logs in the browser, through a proxy that lets it only read from the engine."""

from kmuctl.model.service import Container, Data, Network, Proxy, Route, Service

SERVICE = Service(
    name="dozzle",
    title="Logs",
    containers=(
        Container(name="dozzle", image="amir20/dozzle:v11.1.0", uid=65534, memory=96),
        Container(name="dozzle-proxy", image="wollomatic/socket-proxy:1.13.1", uid=0, memory=32),
    ),
    routes=(Route("logs", "dozzle", 8080),),
    networks=(Network("logs", 8), Network("engine", 10)),
    data=(Data("data", uid=65534),),
    login=Proxy(),
    admins_only=True,
    launcher={"de": "Protokolle (Verwaltung)", "en": "Logs (administration)"},
    deadline=90,
)
