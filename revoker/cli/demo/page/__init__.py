"""The page of the demo: the devices of the story, each a WebSocket behind the gateway SDK, and buttons that end them.

    cast.py       who is there, on which devices, and what became of each
    buttons.py    what can be pressed, and the identity event that it makes
    told.py       how far each revocation has come: committed, announced, enforced
    app.py        the application and the middleware around it
    gateway.py    the gateway and the server, up and down again

It is what a team of gateways would write: of the service it knows `revoker.gateway`, and reads Kafka through it. That
it can press buttons, and read in the registry what became of them, is because it is a demo.
"""

from revoker.cli.demo.page.gateway import Page, opened

__all__ = ["Page", "opened"]
