"""The start page: the company's name and the apps it has."""

from kmuctl.model.service import Container, Route, Service

SERVICE = Service(
    name="homepage",
    title="Start page",
    essential=True,
    containers=(Container(name="homepage", image="caddy:2.11.7", uid=65534, memory=48),),
    routes=(Route("", "homepage", 8080), Route("www", "homepage", 8080)),
    live=("homepage/site/",),
)
