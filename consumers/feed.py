"""What we know of the topic that we write: its epoch and how many partitions it has, looked at every few seconds."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Self
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.clients import started, stopped
from revoker.errors import UnavailableError
from revoker.kafka import client_options
from revoker.logs import get_logger
from revoker.settings import Settings
from revoker.storage.feeds import observe
from revoker.telemetry import Metrics
from schemas.topics import Topic

_EVERY_SECONDS: Final = 5.0
_STALE_SECONDS: Final = 20.0
_log = get_logger(__name__)


class Feed:
    """`session-ended` as the brokers have it. An async context that owns its client."""

    def __init__(self, engine: AsyncEngine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._options = client_options(settings)
        self._client: AIOKafkaConsumer | None = None
        self._seen = time.monotonic()
        self.epoch: UUID | None = None
        self.partitions = 0

    async def __aenter__(self) -> Self:
        self._client = AIOKafkaConsumer(**self._options)
        try:
            await started(self._client)
            await self.refresh()
        except (KafkaError, OSError) as error:
            await stopped(self._client)
            raise UnavailableError(f"Kafka cannot be reached: {type(error).__name__}") from error
        except BaseException:
            await stopped(self._client)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        client, self._client = self._client, None
        await stopped(client)

    async def refresh(self) -> None:
        """Looks once. Raises what the clients raise."""
        self.epoch, recreated = await observe(self._engine, self._topic, self._ends)
        self._seen = time.monotonic()
        if recreated:
            self._metrics.position_alarm("feed_recreated")
            _log.error("feed-recreated", topic=self._topic, epoch=str(self.epoch))

    async def watch(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await self.refresh()
            except (KafkaError, SQLAlchemyError, OSError, TimeoutError) as error:
                _log.warning("dependency-unavailable", error=error)

    async def why_unready(self) -> str | None:
        """Why Kafka cannot be used; None: it can."""
        age = time.monotonic() - self._seen
        return f"no answer for {age:.0f} s" if age > _STALE_SECONDS else None

    async def _ends(self) -> Mapping[int, int]:
        client = self._client
        if client is None:
            raise UnavailableError("there is no client now")
        # Metadata by name, not by subscription: asking for a topic is what makes the client learn of it.
        await client._client.set_topics([self._topic])  # noqa: SLF001 - aiokafka offers no public way
        partitions = client.partitions_for_topic(self._topic) or set()
        self.partitions = len(partitions)
        ends = await client.end_offsets([TopicPartition(self._topic, number) for number in partitions])
        return {partition.partition: offset for partition, offset in ends.items()}
