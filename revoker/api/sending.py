"""Publishing from HTTP: acknowledged or `PublishError`. A producer that failed is made anew, since an idempotent one
that lost a sequence number refuses everything from then on.
"""

import asyncio
from collections.abc import Sequence
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from revoker.clients import started, stopped
from revoker.errors import PublishError
from revoker.kafka import producer_options
from revoker.settings import Settings

Headers = Sequence[tuple[str, bytes]]


class Sender:
    """An async context. Connects with the first record, so that serving does not wait for Kafka."""

    def __init__(self, settings: Settings) -> None:
        self._options = producer_options(settings)
        self._seconds = settings.limits.publish_timeout.total_seconds()
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        producer, self._producer = self._producer, None
        await stopped(producer)

    async def send(self, topic: str, records: list[tuple[bytes, bytes]], headers: Headers = ()) -> None:
        """Returns when every (key, value) is acknowledged, with `headers`. Raises `PublishError`: some may be out."""
        producer = None
        try:
            async with asyncio.timeout(self._seconds):
                producer = await self._started()
                sent = [await producer.send(topic, value, key=key, headers=list(headers)) for key, value in records]
                await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError) as error:
            if producer is not None and self._producer is producer:
                self._producer = None
                await stopped(producer)
            raise PublishError(f"Kafka did not acknowledge: {type(error).__name__}") from error

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._options)
                try:
                    await started(producer)
                except BaseException:
                    await stopped(producer)
                    raise
                self._producer = producer
            return self._producer
