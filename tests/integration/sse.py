"""`revoker.api` without `/check`, a reader of its stream, and a feed that the test writes."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI

from revoker.api import notifications, receipts
from revoker.api.app import Api
from revoker.api.check import Check
from revoker.api.failing import HANDLERS
from revoker.api.metrics import ApiMetrics
from revoker.api.networks import Networks
from revoker.api.sending import Sender
from revoker.api.server import answering, listen
from revoker.api.tail import RING_BYTES, Tail
from revoker.gateway.testing import TestGateway
from revoker.kafka import producer_options
from revoker.service import reach, topics
from revoker.settings import AuthSettings, ClaimSettings, Settings
from schemas.topics import Topic
from tests import servers
from tests.api_service import made_parts
from tests.issuer import AUDIENCE, ISSUER, Issuer
from tests.processes import PATIENCE, eventually


async def made_settings(bootstrap: str, prefix: str) -> Settings:
    """Settings of what needs Kafka and an issuer, its topics made."""
    auth = AuthSettings(issuer=ISSUER, audience=AUDIENCE)
    settings = servers.make_settings(kafka_bootstrap_servers=bootstrap, topic_prefix=prefix, auth=auth)
    await topics.create_missing(settings)
    return settings


@dataclass(frozen=True)
class Event:
    """One event of the stream."""

    kind: str
    id: str
    data: Any

    @property
    def about(self) -> str:
        """The id of the notification."""
        return str(self.data["id"])


class Reader:
    """Reads one stream. What comes is kept in `events`."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.events: list[Event] = []
        self._lines = response.aiter_lines()

    async def next(self) -> Event | None:
        """The next event; None: the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if not line and "data" in fields:
                    event = Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
                    self.events.append(event)
                    return event
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
        return None

    async def until(self, kind: str) -> list[Event]:
        """All that comes until the first event of that kind, which is the last of them."""
        found = []
        while True:
            event = await self.next()
            assert event is not None, f"the stream ended before {kind}"
            found.append(event)
            if event.kind == kind:
                return found

    async def notified(self) -> str:
        """The id of the next notification."""
        return (await self.until("notification"))[-1].about

    async def end(self) -> None:
        """Returns when the stream has ended."""
        while await self.next() is not None:
            pass


class Feed:
    """`session-ended` and its heartbeats, written by the test."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._beats = settings.topic(Topic.HEARTBEATS)
        self._producer = producer
        self.partitions = settings.kafka.partitions

    async def write(self, *bodies: bytes, partition: int | None = None) -> None:
        """Records, acknowledged, each on the partition of its subject or on the one given."""
        for body in bodies:
            key = str(json.loads(body).get("subject", "")).encode() if partition is None else None
            await self._producer.send_and_wait(self._topic, body, key=key, partition=partition)

    async def junk(self, *values: bytes | None) -> None:
        """Records as they are."""
        for value in values:
            await self._producer.send_and_wait(self._topic, value, key=b"junk")

    async def beat(self, epoch: str = "e-1", partitions: int | None = None) -> None:
        """A heartbeat."""
        told = {"consumer": "c", "epoch": epoch, "partitions": partitions or self.partitions, "applied": {}, "lag": 0}
        await self._producer.send_and_wait(self._beats, json.dumps(told | {"at": "2026-11-21T09:00:00Z"}).encode())


@asynccontextmanager
async def feeding(settings: Settings) -> AsyncIterator[Feed]:
    """A feed to write on."""
    producer = AIOKafkaProducer(**producer_options(settings))
    await producer.start()
    try:
        yield Feed(settings, producer)
    finally:
        await producer.stop()


@asynccontextmanager
async def reading(url: str, token: str | None, cursor: str | None = None, **query: Any) -> AsyncIterator[Reader]:
    """A reader of the stream there."""
    headers = {"Last-Event-ID": cursor} if cursor is not None else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with (
        httpx.AsyncClient(timeout=httpx.Timeout(PATIENCE, read=None)) as client,
        client.stream("GET", f"{url}/v1/notifications", headers=headers, params=query) as response,
    ):
        yield Reader(response)


def about(events: Sequence[Event]) -> list[str]:
    """The ids of the notifications among `events`."""
    return [event.about for event in events if event.kind == "notification"]


@dataclass
class Service:
    """The stream's endpoint, and what it stands on."""

    settings: Settings
    url: str
    tail: Tail
    feed: Feed
    metrics: ApiMetrics
    issuer: Issuer

    def token(self, **claims: Any) -> str:
        return self.issuer.machine(**claims)

    def reading(self, cursor: str | None = None, **query: Any) -> AbstractAsyncContextManager[Reader]:
        return reading(self.url, self.token(), cursor, **query)

    async def followed(self) -> None:
        async def ready() -> bool:
            return self.tail.position is not None and self.tail.beat[0] > 0

        await eventually(ready, "the tail to follow")


@asynccontextmanager
async def serving(
    settings: Settings, feed: Feed, *, ring_bytes: int = RING_BYTES, send_seconds: float = 10, tenant: str | None = None
) -> AsyncIterator[Service]:
    settings = settings.model_copy(update={"claims": ClaimSettings(tenant=tenant)})
    issuer, engine = Issuer(), reach.engine(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        sender = await stack.enter_async_context(Sender(settings))
        gateway = await stack.enter_async_context(TestGateway())
        parts = made_parts(settings, issuer, gateway=gateway, sender=sender, engine=engine, ring_bytes=ring_bytes)
        tail, metrics = parts.tail, parts.metrics
        nobody = Check(gateway, None, Networks(()), metrics.answered, lets_anonymous_pass=False)
        app = FastAPI(exception_handlers=dict(HANDLERS))
        app.include_router(notifications.routes(parts, send_seconds=send_seconds))
        app.include_router(receipts.routes(parts))
        listening = listen("127.0.0.1", 0)
        stack.callback(listening.close)
        following = asyncio.create_task(tail.run())
        stack.push_async_callback(_cancelled, following)
        await stack.enter_async_context(answering(Api(nobody, app), listening, parts.stopping))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        service = Service(settings, url, tail, feed, metrics, issuer)
        await service.followed()
        yield service


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
