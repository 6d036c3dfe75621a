"""What is older than the ring, for those who need it: a Kafka reader for as long as it takes, a few of them at once."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from revoker.api.notices import Told, told
from revoker.api.positions import Vector
from revoker.clients import started, stopped
from revoker.kafka import client_options
from revoker.settings import Settings
from schemas.topics import Topic

_READERS: Final = 4
_POLL_MS: Final = 500
_BATCH: Final = 2_000


class History:
    """Reads stretches of `session-ended`."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._lifetime = settings.sessions.lifetime.total_seconds()
        self._options = client_options(settings) | {
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "max_partition_fetch_bytes": 1_000_000,
        }
        self._turns = asyncio.Semaphore(_READERS)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Reading"]:
        """Raises `KafkaError`, `OSError` and `TimeoutError`, as all in here. Waits for its turn."""
        async with self._turns:
            client = AIOKafkaConsumer(**self._options)
            try:
                await started(client)
                await client._client.set_topics([self._topic])  # noqa: SLF001 - aiokafka offers no public way
                yield Reading(client, self._topic, self._lifetime)
            finally:
                await stopped(client)


class Reading:
    """One reader."""

    def __init__(self, client: AIOKafkaConsumer, topic: str, lifetime: float) -> None:
        self._client = client
        self._topic = topic
        self._lifetime = lifetime

    async def reaches(self, cursor: Vector) -> bool:
        """Whether the topic still holds all from `cursor` on."""
        begins = await self._client.beginning_offsets(self._places(cursor))
        return all(begins[place] <= cursor.next[place.partition] for place in begins)

    async def beginning(self, end: Vector, lifetime: float | None) -> Vector:
        """From where to read for all that may matter: what was announced in the last `lifetime` seconds."""
        places = self._places(end)
        begins = await self._client.beginning_offsets(places)
        since = int((time.time() - min(self._lifetime, lifetime or self._lifetime)) * 1000)
        found = await self._client.offsets_for_times(dict.fromkeys(places, since))
        starts = (max(begins[p], found[p].offset if found[p] else end.next[p.partition]) for p in places)
        return Vector(end.epoch, tuple(starts))

    async def between(self, start: Vector, end: Vector) -> AsyncGenerator[tuple[Vector, Told | None], None]:
        """The records from `start` up to `end`, each with the position behind it. None: for nobody, or not any more."""
        client, position = self._client, start
        behind = [p for p in self._places(end) if start.next[p.partition] < end.next[p.partition]]
        client.assign(behind)
        for place in behind:
            client.seek(place, start.next[place.partition])
        while behind:
            fetched = await client.getmany(*behind, timeout_ms=_POLL_MS, max_records=_BATCH)
            now = time.time()
            for record in (r for some in fetched.values() for r in some):
                if record.offset < end.next[record.partition]:
                    position = position.passed(record.partition, record.offset)
                    notice = told(record.value)
                    needed = notice is not None and (notice.until is None or notice.until > now)
                    yield position, notice if needed else None
            # What is not there (compacted, or a marker of a transaction) is passed, too: so not the records count.
            behind = [p for p in behind if await client.position(p) < end.next[p.partition]]

    def _places(self, vector: Vector) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in range(len(vector.next))]
