"""Reading a topic as people do: without a group, all partitions, from here to there, once or for good."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from revoker.errors import ConfigurationError
from revoker.service import reach
from revoker.settings import Settings

_POLL_MS: Final = 500
_UNKNOWN_TOPIC: Final = 3


@dataclass(frozen=True, slots=True)
class Log:
    """A topic that can be read, as it was when it was opened: partition to first and to next offset."""

    topic: str
    consumer: AIOKafkaConsumer
    first: Mapping[int, int]
    end: Mapping[int, int]


@asynccontextmanager
async def opened(settings: Settings, topic: str) -> AsyncIterator[Log]:
    """`topic` (as the brokers know it), assigned as a whole. Raises `ConfigurationError` where there is none."""
    async with reach.admin(settings) as admin:
        partitions = await partitions_of(admin, topic)
    async with reach.consumer(settings) as consumer:
        places = [TopicPartition(topic, number) for number in partitions]
        consumer.assign(places)
        first = await consumer.beginning_offsets(places)
        end = await consumer.end_offsets(places)
        yield Log(topic, consumer, _by_number(first), _by_number(end))


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[int]:
    """The numbers of its partitions."""
    (described,) = await admin.describe_topics([topic])
    if described["error_code"] == _UNKNOWN_TOPIC:
        raise ConfigurationError(f"topic {topic} is missing: see `revoker topics`, and `--create`")
    return sorted(partition["partition"] for partition in described["partitions"])


async def between(log: Log, start: Mapping[int, int]) -> AsyncIterator[ConsumerRecord]:
    """The records from `start` to where the log ended when it was opened; memory holds one fetch."""
    unread = {TopicPartition(log.topic, number) for number, end in log.end.items() if start[number] < end}
    for place in unread:
        log.consumer.seek(place, start[place.partition])
    log.consumer.pause(*(log.consumer.assignment() - unread))
    while unread:
        fetched = await log.consumer.getmany(timeout_ms=_POLL_MS)
        for record in _in_order(fetched):
            if record.offset < log.end[record.partition]:
                yield record
        # A position moves over what holds no record, too: markers of transactions, the start of a shortened log.
        for place in list(unread):
            if await log.consumer.position(place) >= log.end[place.partition]:
                unread.discard(place)
                log.consumer.pause(place)


def last(log: Log, count: int) -> Mapping[int, int]:
    """Where to start so that the last `count` records are surely read, and not much more."""
    return {number: max(log.first[number], end - count) for number, end in log.end.items()}


def appended_at(record: ConsumerRecord) -> datetime:
    """When the broker (or, on topics of others, the publisher) says that it was written."""
    return datetime.fromtimestamp(max(record.timestamp, 0) / 1000, UTC)


def _in_order(fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> Iterator[ConsumerRecord]:
    for place in sorted(fetched):
        yield from fetched[place]


def _by_number(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {place.partition: offset for place, offset in sorted(offsets.items())}
