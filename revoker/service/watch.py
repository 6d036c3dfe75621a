"""Following `session-ended` live, as somebody who listens and is not counted: no group, all partitions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pydantic import TypeAdapter, ValidationError

from revoker.service import reach, records
from revoker.settings import Settings
from schemas.session_ended import Notification
from schemas.topics import Topic

_POLL_MS: Final = 200
_LOOK_SECONDS: Final = 5.0
"""How often it is asked whether there are new partitions, and whether Kafka still answers."""

_NOTIFICATION: Final[TypeAdapter[Notification]] = TypeAdapter(Notification)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One record of `session-ended`. `notification` None: it cannot be read."""

    partition: int
    offset: int
    appended_at: datetime
    received_at: datetime
    """When it came to us; of what was there before we listened, when it was written."""
    notification: Notification | None


async def follow(
    settings: Settings,
    stopping: asyncio.Event,
    *,
    from_beginning: bool = False,
    started: Callable[[], None] = lambda: None,
    trouble: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Received]:
    """What is announced, until `stopping` is set. `started` is called once nothing more can be missed.

    `trouble` hears when Kafka stops answering, and with an empty text when it answers again.
    """
    began = datetime.now(UTC)
    topic = settings.topic(Topic.SESSION_ENDED)
    async with records.opened(settings, topic) as log, reach.admin(settings) as admin:
        offsets = log.first if from_beginning else log.end
        for number, offset in offsets.items():
            log.consumer.seek(TopicPartition(topic, number), offset)
        started()
        looking = asyncio.create_task(_look_after(admin, log.consumer, topic, trouble))
        try:
            async for record in _until(stopping, log.consumer):
                yield _received(record, began)
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking


async def _until(stopping: asyncio.Event, consumer: AIOKafkaConsumer) -> AsyncIterator[ConsumerRecord]:
    while not stopping.is_set():
        fetched = await consumer.getmany(timeout_ms=_POLL_MS)
        for record in sorted((r for some in fetched.values() for r in some), key=lambda r: r.timestamp):
            yield record


async def _look_after(
    admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, topic: str, trouble: Callable[[str], None]
) -> None:
    troubled = False
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            numbers = await records.partitions_of(admin, topic)
        except (KafkaError, OSError, TimeoutError) as error:
            if not troubled:
                trouble(f"Kafka does not answer ({type(error).__name__}); still trying")
            troubled = True
            continue
        if troubled:
            trouble("")
        troubled = False
        await _take_in(consumer, {TopicPartition(topic, number) for number in numbers})


async def _take_in(consumer: AIOKafkaConsumer, places: set[TopicPartition]) -> None:
    """Partitions that were added are read from their beginning: nobody has seen any of them."""
    known = consumer.assignment()
    if places <= known:
        return
    positions = {place: await consumer.position(place) for place in known}
    consumer.assign(list(known | places))
    for place in known | places:
        consumer.seek(place, positions.get(place, 0))


def _received(record: ConsumerRecord, began: datetime) -> Received:
    appended_at = records.appended_at(record)
    try:
        notification = _NOTIFICATION.validate_json(record.value or b"")
    except ValidationError:
        notification = None
    return Received(
        partition=record.partition,
        offset=record.offset,
        appended_at=appended_at,
        received_at=appended_at if appended_at < began else datetime.now(UTC),
        notification=notification,
    )
