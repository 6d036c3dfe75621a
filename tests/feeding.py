"""Records of `session-ended` and heartbeats, as the service writes them, straight onto Kafka."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from revoker.core import notices
from revoker.core.notices import EndedSession
from revoker.core.revocation import Selector
from revoker.gateway.health import Health
from schemas.fields import wire_time
from schemas.topics import Topic
from tests import factories

SECONDS = 30.0
"""How long anything may take on a machine that does much else."""
_LEAVING_SECONDS = 5.0


def notice(subject: str = "alice", *sessions: str, **given: Any) -> bytes:
    """A revocation of all that `subject` established until now, naming `sessions`."""
    now = datetime.now(UTC)
    values = {"id": uuid.uuid4(), "not_before": now, "requested_at": now, "covers_until": now + timedelta(days=30)}
    revocation = factories.revocation(Selector(tenant="", subject=subject), **values | given)
    [told] = notices.ended(revocation, now, [EndedSession(id_, "", None) for id_ in sessions])
    return told.body


def revocation_of(value: bytes) -> str:
    return str(json.loads(value)["data"]["revocation_id"])


def heartbeat(epoch: str, partitions: int) -> bytes:
    body = {
        "consumer": "c-1",
        "at": wire_time(datetime.now(UTC)),
        "epoch": epoch,
        "partitions": partitions,
        "applied": {},
        "lag": 0,
    }
    return json.dumps(body).encode()


async def until(condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Waits for `condition`, which something else brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.01)


async def until_health(health: Callable[[], Health], condition: Callable[[Health], bool]) -> Health:
    """The health that satisfies `condition`."""
    try:
        await until(lambda: condition(health()))
    except AssertionError:
        raise AssertionError(f"it never came to that: {health()}") from None
    return health()


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels it as often as it takes: redis-py swallows a cancellation now and then."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)


@asynccontextmanager
async def leaving(context: AbstractAsyncContextManager[Any]) -> AsyncIterator[None]:
    """`context`, whose end is cancelled where it hangs, for the same reason."""
    await context.__aenter__()
    try:
        yield
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS):
                await context.__aexit__(None, None, None)


class Topics:
    """The topics of one test, on a broker."""

    def __init__(self, bootstrap: str, prefix: str, producer: AIOKafkaProducer, admin: AIOKafkaAdminClient) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.session_ended = prefix + Topic.SESSION_ENDED
        self.heartbeats = prefix + Topic.HEARTBEATS
        self.receipts = prefix + Topic.GATEWAY_RECEIPTS
        self._producer = producer
        self.admin = admin

    async def create(self, partitions: int = 2) -> None:
        """All three."""
        await self.admin.create_topics(
            [
                NewTopic(self.session_ended, partitions, 1),
                NewTopic(self.heartbeats, 1, 1),
                NewTopic(self.receipts, 1, 1),
            ]
        )

    async def create_one(self, name: str, partitions: int) -> None:
        await self.admin.create_topics([NewTopic(name, partitions, 1)])

    async def grow(self, partitions: int) -> None:
        await self.admin.create_partitions({self.session_ended: NewPartitions(partitions)})
        client = self._producer.client
        async with asyncio.timeout(SECONDS):
            await client.add_topic(self.session_ended)
            while len(client.cluster.partitions_for_topic(self.session_ended) or ()) < partitions:
                await client.force_metadata_update()
                await asyncio.sleep(0.05)

    async def end(self, *values: bytes | None, partition: int = 0) -> int:
        """Publishes records of `session-ended`; the offset of the last."""
        last = -1
        for sent in [await self._producer.send(self.session_ended, value, b"k", partition) for value in values]:
            last = (await sent).offset
        return last

    async def beat(self, epoch: str = "e1", partitions: int = 2) -> None:
        await self._producer.send_and_wait(self.heartbeats, heartbeat(epoch, partitions))

    async def told(self, enough: Callable[[Sequence[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The data of all receipts, once there are `enough`."""
        consumer = AIOKafkaConsumer(self.receipts, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        receipts: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(SECONDS):
                while not enough(receipts):
                    receipts.append(json.loads((await consumer.getone()).value)["data"])
        except TimeoutError:
            raise AssertionError(f"it never came to that: {receipts}") from None
        finally:
            await consumer.stop()
        return receipts


@asynccontextmanager
async def topics(bootstrap: str, prefix: str) -> AsyncIterator[Topics]:
    """A producer and an administrator for them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=0)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await producer.start()
    await admin.start()
    try:
        yield Topics(bootstrap, prefix, producer, admin)
    finally:
        await admin.close()
        await producer.stop()


@asynccontextmanager
async def repeating(work: Callable[[], Awaitable[Any]], seconds: float) -> AsyncIterator[None]:
    """Does `work` again and again meanwhile."""

    async def repeat() -> None:
        while True:
            await work()
            await asyncio.sleep(seconds)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        await ended(task)
