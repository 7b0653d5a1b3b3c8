"""Jitsi: video meetings. Hosts sign in through `/_sso`, guests join what a host has opened."""

from kmuctl.model.service import Container, Data, Network, Port, Proxy, Route, Service, secrets

TAG = "stable-11146-2"

SERVICE = Service(
    name="jitsi",
    title="Jitsi Meet",
    containers=(
        Container(name="jitsi-web", image=f"ghcr.io/jitsi/web:{TAG}", uid=1000, memory=96, deadline=120),
        Container(name="jitsi-prosody", image=f"ghcr.io/jitsi/prosody:{TAG}", uid=1000, memory=192, deadline=120),
        Container(name="jitsi-jicofo", image=f"ghcr.io/jitsi/jicofo:{TAG}", uid=1000, memory=448, deadline=120),
        Container(name="jitsi-jvb", image=f"ghcr.io/jitsi/jvb:{TAG}", uid=1000, memory=832, deadline=120),
    ),
    uses=("turn_secret",),
    routes=(Route("meet", "jitsi-web", 8000),),
    ports=(Port(10000, "udp", "video"),),
    networks=(Network("jitsi", 4), Network("media", 5, internal=False)),
    secrets=secrets("jitsi_jicofo_password", "jitsi_jvb_password", "jitsi_jwt_secret"),
    data=(Data("prosody", uid=1000),),
    login=Proxy(only=("/_sso/*",)),
    launcher={"de": "Videokonferenzen", "en": "Video meetings"},
)
