"""The whole application in this process, as `revoker serve` makes it: a real Kafka and PostgreSQL, an issuer that is
ours, and a gateway that the test feeds by hand.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from revoker.admin import admin_app
from revoker.api.app import Api
from revoker.api.callers import ByToken
from revoker.api.check import Check
from revoker.api.everything import Everything
from revoker.api.headers import guarded
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.networks import Networks
from revoker.api.parts import Parts
from revoker.api.routing import application
from revoker.api.sending import Sender
from revoker.api.tokens import Verifier
from revoker.gateway.testing import TestGateway
from revoker.service import reach, topics
from revoker.settings import AuthSettings, Settings
from schemas.topics import Topic
from tests.issuer import AUDIENCE, ISSUER, Issuer
from tests.processes import PATIENCE

HERE = "http://sessions.example"
AUTH = AuthSettings(issuer=ISSUER, audience=AUDIENCE)


@dataclass(frozen=True)
class Served:
    """The application, and all that a test does with it."""

    settings: Settings
    parts: Parts
    routed: FastAPI
    app: ASGIApp
    issuer: Issuer
    gateway: TestGateway
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, token: str | None = None, **given: Any) -> httpx.Response:
        """The answer to whoever shows `token`."""
        headers = given.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token is not None else {})
        return await self.client.request(method, path, headers=headers, **given)

    async def events(self, topic: Topic = Topic.IDENTITY_EVENTS) -> Sequence[dict[str, Any]]:
        """All that was written to a topic until now, by partition."""
        async with reach.consumer(self.settings) as consumer:
            consumer.subscribe([self.settings.topic(topic)])
            found: list[Any] = []
            async with asyncio.timeout(PATIENCE):
                while not (places := list(consumer.assignment())):
                    found += _all(await consumer.getmany(timeout_ms=50))
                ends = await consumer.end_offsets(places)
                while any([await consumer.position(place) < ends[place] for place in places]):
                    found += _all(await consumer.getmany(timeout_ms=50))
        return [json.loads(record.value) for record in sorted(found, key=lambda one: (one.partition, one.offset))]


@asynccontextmanager
async def serving(settings: Settings, gateway: TestGateway | None = None, **more: Any) -> AsyncIterator[Served]:
    """`more` are settings that differ. Nothing is asked of Kafka or PostgreSQL before a request does."""
    chosen = settings.model_copy(update={"auth": AUTH, **more})
    issuer = Issuer()
    keys = Keys(chosen.auth, transport=httpx.ASGITransport(issuer)) if chosen.auth.issuer else None
    verifier = Verifier(chosen.auth, keys) if keys is not None else None
    metrics = ApiMetrics()
    async with gateway or TestGateway() as fed, Sender(chosen) as sender:
        everything = Everything(
            chosen,
            gateway=fed,
            sender=sender,
            verifier=verifier,
            keys=keys,
            metrics=metrics,
            stopping=asyncio.Event(),
        )
        routed = application(everything.parts, admin_app(metrics.registry, lambda: None, {}))
        networks = Networks(())
        check = Check(
            fed,
            ByToken(verifier, keys, chosen.check, chosen.claims) if verifier and keys else None,
            networks,
            metrics.answered,
            lets_anonymous_pass=False,
        )
        app = Api(check, guarded(routed, chosen.http))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        try:
            async with httpx.AsyncClient(transport=transport, base_url=HERE, timeout=PATIENCE) as client:
                yield Served(chosen, everything.parts, routed, app, issuer, fed, client)
        finally:
            await everything.close()


def _all(fetched: dict[Any, list[Any]]) -> list[Any]:
    return [record for records in fetched.values() for record in records]


async def with_topics(settings: Settings) -> Settings:
    """`settings`, once its topics are there."""
    await topics.create_missing(settings)
    return settings
