"""The worker that will keep mailboxes in step with people, from the panel's image."""

from kmuctl import __version__
from kmuctl.model.service import Container, Service

SERVICE = Service(
    name="usersync",
    title="User sync",
    containers=(Container(name="usersync", image=f"kmuctl-panel:{__version__}", uid=10001, memory=96),),
    needs=("panel",),
    uses=("stalwart_webhook_key",),
)
