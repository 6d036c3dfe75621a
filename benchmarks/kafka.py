"""Plain aiokafka, for backlogs, for counting, and for what Kafka alone costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from revoker.kafka import client_options, producer_options
from revoker.settings import Settings

Record = tuple[bytes, bytes]
"""A key and a value."""

_BURST: Final = 5_000


class Kafka:
    """A producer, a consumer without a group and an admin client. An async context."""

    def __init__(self, settings: Settings) -> None:
        self._options = client_options(settings)
        self._partitions = settings.kafka.partitions
        self._admin = AIOKafkaAdminClient(**self._options)
        self._reader = AIOKafkaConsumer(**self._options, enable_auto_commit=False)
        self._producer = AIOKafkaProducer(**producer_options(settings))

    async def __aenter__(self) -> Self:
        await asyncio.gather(self._admin.start(), self._reader.start(), self._producer.start())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()
        await self._reader.stop()
        await self._admin.close()

    async def create(self, *topics: str) -> None:
        """Topics like ours."""
        await self._admin.create_topics([NewTopic(topic, self._partitions, 1) for topic in topics])

    async def produce(self, topic: str, records: Sequence[Record]) -> float:
        """Writes `records`. Returns the seconds until all were acknowledged."""
        began = time.monotonic()
        for start in range(0, len(records), _BURST):
            burst = records[start : start + _BURST]
            await asyncio.gather(*[await self._producer.send(topic, value, key=key) for key, value in burst])
        return time.monotonic() - began

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """The offset behind the last record of each partition."""
        partitions = [TopicPartition(topic, number) for number in range(self._partitions)]
        ends: dict[TopicPartition, int] = await self._reader.end_offsets(partitions)
        return ends

    async def count(self, topic: str) -> int:
        """How many records were ever written to `topic`."""
        return sum((await self.ends(topic)).values())

    async def committed(self, group: str, topic: str) -> dict[TopicPartition, int]:
        """What `group` has committed."""
        offsets = await self._admin.list_consumer_group_offsets(group)
        return {partition: found.offset for partition, found in offsets.items() if partition.topic == topic}

    @asynccontextmanager
    async def reading(self, since: Mapping[TopicPartition, int]) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer that begins at `since`."""
        consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False, max_partition_fetch_bytes=2_000_000)
        await consumer.start()
        try:
            consumer.assign(list(since))
            for partition, offset in since.items():
                consumer.seek(partition, offset)
            yield consumer
        finally:
            await consumer.stop()

    async def read(self, since: Mapping[TopicPartition, int]) -> tuple[float, list[Record]]:
        """Reads everything from `since` on. Returns the seconds that it took, and the records."""
        ends = await self.ends(next(iter(since)).topic)
        missing = sum(ends[partition] - offset for partition, offset in since.items())
        records: list[Record] = []
        async with self.reading(since) as consumer:
            began = time.monotonic()
            while len(records) < missing:
                fetched = await consumer.getmany(timeout_ms=1_000)
                records += [(record.key, record.value) for batch in fetched.values() for record in batch]
            return time.monotonic() - began, records
