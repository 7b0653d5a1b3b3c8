"""Element: chat in the browser.

Behind the login as a whole, but its own files stay open: an expired session must not turn `/config.json`
into a redirect in the middle of a running app.
"""

from kmuctl.model.service import Container, Proxy, Route, Service

SERVICE = Service(
    name="element",
    title="Element",
    containers=(Container(name="element", image="ghcr.io/element-hq/element-web:v1.12.26", uid=101, memory=48),),
    needs=("synapse",),
    routes=(Route("element", "element", 8080),),
    login=Proxy(public=("/config.json", "/config.*.json", "/version", "/bundles/*", "/sw.js", "/manifest.json")),
    launcher={"de": "Chat", "en": "Chat"},
)
