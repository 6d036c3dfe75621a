"""Publishing with an answer: either every record was acknowledged, or `PublishError`.

An idempotent producer that once failed between two sequence numbers refuses everything for that partition from then
on, until it is made anew. So after any failure this makes a new one, and the caller does it all again: notifications
bear derived ids, so that a repeat is a repeat.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from revoker.clients import started, stopped
from revoker.core.notices import Notice
from revoker.errors import PublishError
from revoker.kafka import producer_options
from revoker.settings import Settings
from revoker.telemetry import Metrics
from schemas.topics import MAX_REJECTED_BYTES, Topic

_STOP_SECONDS = 5.0
_BATCH_BYTES = 262_144


class Outgoing(msgspec.Struct, frozen=True):
    """A record to publish. `headers` may be whatever a record that is set aside came with."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Publisher:
    """A producer that is rebuilt when it fails. Start and stop it as an async context; stopping twice is safe."""

    def __init__(self, settings: Settings) -> None:
        self._options: dict[str, Any] = producer_options(settings) | {
            "max_request_size": MAX_REJECTED_BYTES,
            "max_batch_size": _BATCH_BYTES,
        }
        self._timeout = settings.limits.publish_timeout.total_seconds()
        self._producer: AIOKafkaProducer | None = None
        self._rebuilding = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._producer = await self._started()
        return self

    async def __aexit__(self, *_: object) -> None:
        producer, self._producer = self._producer, None
        await stopped(producer)

    async def publish(self, records: Sequence[Outgoing]) -> Mapping[int, int]:
        """The highest offset that `records` reached in each partition, once all are acknowledged.

        Meant for records of one topic where the answer is of interest. Raises `PublishError`: some may be out.
        """
        if not records:
            return {}
        producer = await self._current()
        try:
            async with asyncio.timeout(self._timeout):
                packed = await _packed(producer, records)
                sent = [await producer.send_batch(b.builder, b.topic, partition=b.partition) for b in packed]
                written = await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._discard(producer)
            raise PublishError(f"Kafka did not acknowledge: {type(error).__name__}") from error
        highest: dict[int, int] = {}
        for pack, first in zip(packed, written, strict=True):
            last = first.offset + pack.builder.record_count() - 1
            highest[pack.partition] = max(last, highest.get(pack.partition, -1))
        return highest

    async def _current(self) -> AIOKafkaProducer:
        async with self._rebuilding:
            if self._producer is None:
                self._producer = await self._started()
            return self._producer

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._options)
        try:
            async with asyncio.timeout(self._timeout):
                await started(producer)
        except (KafkaError, OSError, TimeoutError) as error:
            await stopped(producer)
            raise PublishError(f"Kafka cannot be reached: {type(error).__name__}") from error
        except BaseException:  # cancelled
            await stopped(producer)
            raise
        return producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        async with self._rebuilding:
            if self._producer is producer:
                self._producer = None
                await stopped(producer)


@dataclass(frozen=True, slots=True)
class _Pack:
    topic: str
    partition: int
    builder: BatchBuilder


async def _packed(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[_Pack]:
    """`records` as ready batches: a tenth of what sending them one by one costs.

    The partition is the CRC-32 of the key, as librdkafka's `consistent` partitioner has it.
    """
    partitions = {topic: sorted(await producer.partitions_for(topic)) for topic in {r.topic for r in records}}
    full: list[_Pack] = []
    open_: dict[tuple[str, int], BatchBuilder] = {}
    for record in records:
        choice = partitions[record.topic]
        partition = choice[zlib.crc32(record.key or record.value or b"") % len(choice)]
        place = record.topic, partition
        builder = open_.get(place)
        if builder is None or not _fits(builder, record):
            if builder is not None:
                full.append(_Pack(*place, builder))
            builder = open_[place] = producer.create_batch()
            _fits(builder, record)
    return full + [_Pack(*place, builder) for place, builder in open_.items()]


def _fits(builder: BatchBuilder, record: Outgoing) -> bool:
    """Appends `record`, unless there is no room. In an empty batch there always is."""
    added = builder.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
    return added is not None


class SessionEndedAnnouncer:
    """`revoker.service.ports.Announcer` on Kafka."""

    def __init__(self, publisher: Publisher, settings: Settings, metrics: Metrics) -> None:
        self.publisher = publisher
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._metrics = metrics

    async def announce(self, notices: Sequence[Notice]) -> Mapping[int, int]:
        """The highest offset in each partition, once all are acknowledged. Raises `PublishError`."""
        written = await self.publisher.publish([Outgoing(self._topic, n.key, n.body) for n in notices])
        for kind, count in Counter(notice.kind for notice in notices).items():
            self._metrics.notified(kind.value, count)
        return written
