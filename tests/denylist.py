"""What tests of the projection share: a member of the group in this process, a topic to write to, a reader."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from consumers.app import _broker
from consumers.denylist import Denylist
from revoker.core import notices
from revoker.core.notices import EndedSession, EndedToken
from revoker.core.revocation import Revocation, Selector
from revoker.settings import Settings
from revoker.telemetry import Metrics
from schemas.fields import wire_time
from schemas.topics import Topic
from tests import factories
from tests.processes import eventually

PARTITIONS: Final = 3
PREFIX: Final = "revoker:revoked:"


@asynccontextmanager
async def member(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Denylist]:
    """One member of the group, until the end of the context."""
    denylist = Denylist(settings, metrics or Metrics())
    broker = _broker(settings)
    denylist.subscribe(broker)
    work = asyncio.create_task(denylist.run())
    try:
        await broker.start()
        yield denylist
    finally:
        await broker.stop()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


def revocation(subject: str = "alice", tenant: str = "", **given: Any) -> Revocation:
    """Of all that the subject established until now: a test's Redis forgets what is over."""
    now = datetime.now(UTC)
    selector = given.pop("selector", None) or Selector(tenant=tenant, subject=subject)
    return factories.revocation(
        selector,
        **{
            "id": uuid.uuid4(),
            "not_before": now,
            "requested_at": now,
            "covers_until": now + timedelta(days=30),
        }
        | given,
    )


def session(session_id: str, client_id: str = "web", subject: str | None = None) -> EndedSession:
    return EndedSession(session_id, client_id, None, subject)


def ended(of: Revocation, *sessions: EndedSession, tokens: tuple[EndedToken, ...] = ()) -> bytes:
    """The record that announces it."""
    return notices.ended(of, datetime.now(UTC), sessions, tokens)[0].body


def hold(hold_id: str, selector: dict[str, Any], until: datetime) -> bytes:
    data = {"hold_id": hold_id, "selector": selector, "until": wire_time(until), "reason_user": {"en": "Held"}}
    return _record("hold-placed", data)


def lift(hold_id: str, at: datetime) -> bytes:
    return _record("hold-lifted", {"hold_id": hold_id, "at": wire_time(at)})


def _record(type_: str, data: dict[str, Any]) -> bytes:
    head = {"specversion": "1.0", "type": type_, "id": str(uuid.uuid4()), "source": "revoker", "tenant": ""}
    return json.dumps(head | {"time": wire_time(datetime.now(UTC)), "data": data}).encode()


class World:
    """The topic, and Redis as a reader sees it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.redis: Any = Redis.from_url(
            settings.redis_url.get_secret_value(),
            decode_responses=True,
            # It may be away for a moment, when a test says so.
            retry=Retry(ConstantBackoff(0.1), 100),
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
        self.written = [0] * PARTITIONS

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        await self.redis.aclose()

    async def write(self, *values: bytes | None, partition: int = 0, key: str = "any") -> None:
        """Records on `session-ended`."""
        topic = self.settings.topic(Topic.SESSION_ENDED)
        for value in values:
            await self._producer.send(topic, value, key=key.encode(), partition=partition)
        await self._producer.flush()
        self.written[partition] += len(values)

    async def beat(self, epoch: str) -> None:
        """A heartbeat of the revocation consumers."""
        await self._producer.send_and_wait(
            self.settings.topic(Topic.HEARTBEATS), json.dumps({"consumer": "c-1", "epoch": epoch}).encode(), partition=0
        )

    async def until(self, probe: Callable[[], Awaitable[Any]], what: str) -> Any:
        """The first answer that is something; what is in Redis, else."""
        try:
            return await eventually(probe, what)
        except AssertionError as error:
            keys = {key: await self.redis.type(key) for key in await self.redis.keys("*")}
            state = await self.redis.hgetall(PREFIX + "state"), await self.redis.hgetall(PREFIX + "positions")
            raise AssertionError(f"{error}\n{state}\n{keys}") from error

    async def epoch(self) -> str | None:
        """That which readers see."""
        found: str | None = await self.redis.get(PREFIX + "epoch")
        return found

    async def build(self) -> str | None:
        found: str | None = await self.redis.hget(PREFIX + "state", "build")
        return found

    async def complete(self) -> str:
        """The epoch, once all that was written is in Redis and vouched for."""

        async def whole() -> str | None:
            since = await self.redis.get(PREFIX + "as-of")
            positions = await self.redis.hgetall(PREFIX + "positions")
            reached = all(int(positions.get(str(n), -1)) >= end for n, end in enumerate(written))
            return await self.epoch() if reached and since and since >= asked else None

        asked, written = wire_time(datetime.now(UTC)), tuple(self.written)
        epoch: str = await self.until(whole, "the projection to be complete")
        return epoch

    async def receipts(self) -> list[dict[str, Any]]:
        """What was told of the projection, in order."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await consumer.start()
        try:
            topic = self.settings.topic(Topic.GATEWAY_RECEIPTS)
            places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            told = []
            for place in places:
                consumer.seek(place, 0)
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    told += [json.loads(record.value) for record in records]
            return [one["data"] for one in told]
        finally:
            await consumer.stop()
