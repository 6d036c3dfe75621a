"""What heartbeats tell of the topic: its epoch. Another one means that `session-ended` was created anew."""

import asyncio
import random
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from revoker.clients import started, stopped
from revoker.kafka import client_options
from revoker.logs import get_logger
from revoker.settings import Settings
from schemas.topics import Topic

_BACK: Final = 20
"""Heartbeats to go back at the start: the last may be one that we cannot read."""
_RETRY_SECONDS: Final = 2.0
_log = get_logger(__name__)


class _Beat(msgspec.Struct):
    epoch: str


class Beats:
    """The last epoch that was heard. Kept where a rebuild or a restart of Redis cannot lose it: on Kafka."""

    def __init__(self, settings: Settings) -> None:
        self._options = client_options(settings)
        self._place = TopicPartition(settings.topic(Topic.HEARTBEATS), 0)
        self._read = msgspec.json.Decoder(_Beat).decode
        self.epoch: str | None = None

    async def listen(self) -> None:
        """Listens until cancelled."""
        while True:
            consumer = AIOKafkaConsumer(**self._options, auto_offset_reset="earliest", enable_auto_commit=False)
            try:
                await started(consumer)
                await self._follow(consumer)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end what runs beside this
                _log.warning("dependency-unavailable", dependency="heartbeats", error=error)
            finally:
                await stopped(consumer)
            await asyncio.sleep(_RETRY_SECONDS * (0.5 + random.random()))

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        consumer.assign([self._place])
        end = (await consumer.end_offsets([self._place]))[self._place]
        first = (await consumer.beginning_offsets([self._place]))[self._place]
        consumer.seek(self._place, max(first, end - _BACK))
        async for record in consumer:
            try:
                self.epoch = self._read(record.value or b"").epoch
            except msgspec.MsgspecError:
                continue
