"""The routes of `revoker serve` in this process, on an issuer, a gateway and a feed that the test holds in its hands.

`in_process(settings)` needs no server: what would go to Kafka is kept in `sender.sent`, or refused while
`sender.failing`. With the address of a real PostgreSQL in the settings the lists are real.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from revoker.api.asking import Asking
from revoker.api.headers import guarded
from revoker.api.history import History
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.parts import Parts
from revoker.api.registry import Registry
from revoker.api.routing import application
from revoker.api.sending import Headers, Sender
from revoker.api.tail import RING_BYTES, Tail
from revoker.api.tokens import Verifier
from revoker.api.who import Who
from revoker.errors import PublishError
from revoker.gateway import Gateway
from revoker.gateway.testing import TestGateway
from revoker.service import reach
from revoker.settings import AuthSettings, Settings
from tests import servers
from tests.issuer import AUDIENCE, ISSUER, Issuer

HOME: Final = "https://sessions.example"
"""Where browsers find the service."""
NOWHERE: Final = "postgresql://nobody@127.0.0.1:9/none"
"""A database that is away."""


class Kept(Sender):
    """A way to Kafka that ends here."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sent: list[tuple[str, bytes, dict[str, Any]]] = []
        """Topic, key and event."""
        self.raw: list[tuple[str, bytes, bytes]] = []
        """The same of what has headers: it may be anything."""
        self.headers: list[dict[str, bytes]] = []
        """Of each time that something was sent."""
        self.failing = False

    async def send(self, topic: str, records: list[tuple[bytes, bytes]], headers: Headers = ()) -> None:
        if self.failing:
            raise PublishError("Kafka did not acknowledge")
        if headers:
            self.raw += [(topic, key, value) for key, value in records]
        else:
            self.sent += [(topic, key, json.loads(value)) for key, value in records]
        self.headers.append(dict(headers))

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was sent."""
        return [event for _, _, event in self.sent]


@dataclass
class Service:
    """The application and all around it."""

    app: ASGIApp
    client: httpx.AsyncClient
    parts: Parts
    issuer: Issuer
    gateway: TestGateway
    sender: Kept

    def bearer(self, **claims: Any) -> dict[str, str]:
        """The header of a person, `alice` in session `s-1` unless told otherwise."""
        return {"Authorization": f"Bearer {self.token(**claims)}"}

    def token(self, **claims: Any) -> str:
        """Of the same."""
        return self.issuer.token(**{"sid": "s-1"} | claims)

    def machine(self, scope: str, **claims: Any) -> dict[str, str]:
        """The header of a program."""
        return {"Authorization": f"Bearer {self.issuer.machine(scope, **claims)}"}


def api_settings(**given: Any) -> Settings:
    """Settings of the routes, with an issuer and without a database."""
    auth = AuthSettings(issuer=ISSUER, audience=AUDIENCE)
    return servers.make_settings(**{"auth": auth, "database_url": NOWHERE} | given)


def made_parts(
    settings: Settings,
    issuer: Issuer,
    *,
    gateway: Gateway,
    sender: Sender,
    engine: AsyncEngine,
    ring_bytes: int = RING_BYTES,
) -> Parts:
    """What `revoker serve` makes of its settings, with keys from `issuer`."""
    keys = Keys(settings.auth, transport=httpx.ASGITransport(issuer))
    verifier = Verifier(settings.auth, keys)
    return Parts(
        settings=settings,
        who=Who(settings, verifier, gateway, Registry(settings, engine)),
        asking=Asking(settings, sender, engine),
        sender=sender,
        engine=engine,
        gateway=gateway,
        verifier=verifier,
        keys=keys,
        tail=Tail(settings, ring_bytes=ring_bytes),
        history=History(settings),
        metrics=ApiMetrics(),
        stopping=asyncio.Event(),
    )


@asynccontextmanager
async def in_process(settings: Settings | None = None, **gateway_options: Any) -> AsyncIterator[Service]:
    """The routes, asked without a network."""
    settings = settings or api_settings()
    issuer, sender, engine = Issuer(), Kept(settings), reach.engine(settings)
    async with TestGateway(**gateway_options) as gateway:
        parts = made_parts(settings, issuer, gateway=gateway, sender=sender, engine=engine)
        app = guarded(application(parts), settings.http)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=HOME) as client:
            yield Service(app, client, parts, issuer, gateway, sender)
    await engine.dispose()
