"""The denylist consumers: `session-ended` into Redis, for readers in any language.

Beside everything else: its own group, its own back-off; while Redis is away it lags, and nobody waits for it.

    subscribe    batches, in chunks of one atomic write each; a chunk is read while the one before it is written
    run          is what is in Redis whole? (`denylist_trust`), copies deleted again, receipts (`denylist_receipts`)

Where a partition goes on is what Redis says (`denylist_places`); Kafka's committed offsets are for those who watch lag.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.message import AckStatus
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from consumers.denylist_beats import Beats
from consumers.denylist_places import Places
from consumers.denylist_receipts import Receipts
from consumers.denylist_trust import Trust
from consumers.subscribing import subscriber
from revoker.core.copies import Templates
from revoker.core.wire import NoticeError, SessionEndedNotice, decode_notice
from revoker.errors import ConfigurationError, UnavailableError
from revoker.logs import get_logger
from revoker.projection.entries import Chunk
from revoker.projection.store import Move, OutOfStepError, Projection
from revoker.settings import Settings
from revoker.tasks import was_cancelled
from revoker.telemetry import Metrics
from revoker.telemetry.names import DenylistFailure
from schemas.topics import Topic

_GROUP: Final = "revoker-denylist"
_CHUNK: Final = 500
"""Records a write: Redis does nothing else meanwhile, about 15 ms."""
_PLACE_SECONDS: Final = 3.0
"""Less than a rebalance, or the end of the process, waits for a batch."""
_COMMIT_EVERY_SECONDS: Final = 5.0
_COMMIT_SECONDS: Final = 10.0
_REDIS_SECONDS: Final = 5.0
_BACK_OFF_SECONDS: Final = (0.25, 3.0)
_AGAIN_EVERY_SECONDS: Final = 0.5
_log = get_logger(__name__)


class Denylist:
    """The group's member in this process. Made inside the loop that runs it; `subscribe` before `run`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics.denylist
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._stream_ms = settings.denylist.stream.total_seconds() * 1000
        self._templates = Templates(settings.denylist.cached)
        self._client = _client(settings.redis_url.get_secret_value())
        self._projection = Projection(self._client, self._stream_ms / 1000)
        self._beats = Beats(settings)
        self._places = Places(self._projection, self._beats, self._topic, metrics)
        self._trust = Trust(self._projection, self._places, self._beats, settings, metrics)
        self._receipts = Receipts(self._projection, settings)
        self._attempts = 0

    def subscribe(self, broker: KafkaBroker) -> None:
        """Registers the group's subscriber with `broker`, before that is started."""
        reading = subscriber(broker, self._settings, _GROUP, [self._topic], self._places)
        self._places.bind(lambda: reading.consumer)

        @reading
        async def on_batch(message: KafkaMessage) -> None:
            await self.on_batch(message)

    async def run(self) -> None:
        """The work beside the batches, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beats.listen())
                tasks.create_task(self._trust.watch())
                tasks.create_task(self._receipts.send())
                tasks.create_task(self._delete_again())
                tasks.create_task(self._commit())
        finally:
            await self._places.close()
            with suppress(RedisError, OSError):
                await self._client.aclose()

    async def why_unready(self) -> str | None:
        """Why readers of Redis are not told to believe it; None: they are."""
        return self._trust.why_not

    async def on_batch(self, message: KafkaMessage) -> None:
        """FastStream's handler. Never raises but when cancelled: what is not written is read again."""
        records: Sequence[ConsumerRecord] = message.raw_message
        consumer: AIOKafkaConsumer = message.consumer
        async with self._places.working:
            done = await self._work_off(records)
            partitions = {record.partition for record in records}
            if done:
                self._attempts = 0
            else:
                self._postpone(consumer, partitions)
        # FastStream must not commit whatever was fetched: what is written counts, and Redis knows it.
        message.committed = AckStatus.ACKED

    async def _work_off(self, records: Sequence[ConsumerRecord]) -> bool:
        """Whether all of them are in Redis now, or are to be read again anyhow."""
        try:
            accepted = await self._places.accept(records, _PLACE_SECONDS)
            if accepted:
                await self._write(accepted)
                self._receipts.wake()
        except OutOfStepError:
            self._places.start_over()
        except ReadOnlyError as error:
            # These connections lead to a server that is no master any more.
            await self._client.connection_pool.disconnect()
            return self._failed("redis", error)
        except (RedisError, OSError, TimeoutError, UnavailableError) as error:
            return self._failed("redis", error)
        except Exception as error:  # noqa: BLE001 - a defect of ours: it is tried again, loudly
            return self._failed("unexpected", error)
        return True

    async def _write(self, records: Sequence[ConsumerRecord]) -> None:
        """All of them, chunk by chunk, each written while the next is read."""
        build, generation = self._places.build, self._places.generation
        reached = dict(self._places.applied)
        writing: asyncio.Task[None] | None = None
        try:
            for start in range(0, len(records), _CHUNK):
                part = records[start : start + _CHUNK]
                chunk = self._chunk(part)
                moves = _moves(part, reached)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write_one(build, generation, chunk, moves))
                # It is on its way before the next chunk keeps this thread busy.
                await asyncio.sleep(0)
            if writing is not None:
                await writing
        except BaseException:
            if writing is not None:
                await asyncio.gather(writing, return_exceptions=True)
            raise

    async def _write_one(self, build: str, generation: int, chunk: Chunk, moves: Sequence[Move]) -> None:
        self._metrics.copies_deleted(await self._projection.apply(build, chunk, moves))
        self._places.advance(generation, {move.partition: move.end for move in moves})

    def _chunk(self, records: Sequence[ConsumerRecord]) -> Chunk:
        chunk = Chunk()
        recent = time.time() * 1000 - self._stream_ms
        rejected = 0
        for record in records:
            try:
                notice = decode_notice(record.value or b"")
            except NoticeError:
                rejected += 1
                continue
            if notice is not None:
                chunk.add(notice, self._templates)
            if record.timestamp >= recent:
                chunk.stream += (record.value.decode(), record.partition, record.offset)
        if rejected:
            self._metrics.records("rejected", rejected)
            _log.error("record-rejected", topic=self._topic, records=rejected)
        self._metrics.records("applied", len(records) - rejected)
        return chunk

    async def _delete_again(self) -> None:
        """Copies that a request in flight may have written back."""
        while not was_cancelled():
            await asyncio.sleep(_AGAIN_EVERY_SECONDS)
            try:
                for due in await self._projection.due_again():
                    chunk = self._copies(await self._projection.notifications(due))
                    self._metrics.copies_deleted(await self._projection.drop_again(due, chunk))
            except (RedisError, OSError, TimeoutError):
                # The watch beside this says what is wrong; what was due stays so.
                continue
            except Exception as error:  # noqa: BLE001 - a defect of ours must not end what runs beside this
                self._failed("unexpected", error)

    def _copies(self, values: Sequence[bytes]) -> Chunk:
        chunk = Chunk()
        for value in values:
            with suppress(NoticeError):
                notice = decode_notice(value)
                if isinstance(notice, SessionEndedNotice):
                    chunk.drop_copies(notice, self._templates)
        return chunk

    async def _commit(self) -> None:
        """Tells Kafka how far we are, for those who watch the group's lag; nothing here depends on it."""
        told: dict[int, int] = {}
        while True:
            await asyncio.sleep(_COMMIT_EVERY_SECONDS)
            reached = dict(self._places.applied)
            if reached == told:
                continue
            try:
                consumer = self._places.consumer
                mine = {place for place in consumer.assignment() if place.partition in reached}
                async with asyncio.timeout(_COMMIT_SECONDS):
                    await consumer.commit({place: reached[place.partition] for place in mine})
                told = reached
            except (KafkaError, IllegalStateError, TimeoutError, UnavailableError, ValueError) as error:
                self._metrics.failed("kafka")
                _log.warning("dependency-unavailable", dependency="kafka", error=error)

    def _failed(self, kind: DenylistFailure, error: Exception) -> bool:
        self._metrics.failed(kind)
        _log.error("batch-failed", lane="denylist", kind=kind, error=error)
        return False

    def _postpone(self, consumer: AIOKafkaConsumer, partitions: set[int]) -> None:
        """Reads them again, a while later. The consumer polls on, so that the group keeps it."""
        least, most = _BACK_OFF_SECONDS
        delay = min(most, least * 2**self._attempts) * (0.5 + random.random() / 2)
        self._attempts = min(self._attempts + 1, 10)
        mine = {TopicPartition(self._topic, number) for number in partitions} & consumer.assignment()
        for place in mine:
            self._places.rewind(place)
        if mine:
            consumer.pause(*mine)
            _log.warning("partition-paused", topic=self._topic, partitions=len(mine), seconds=round(delay, 2))
            asyncio.get_running_loop().call_later(delay, _resume, consumer, mine)


def _client(url: str) -> Redis:
    try:
        return Redis.from_url(
            url,
            decode_responses=False,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
            # Tried again by us, once it is known what Redis holds.
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # Its text could hold the password.
        raise ConfigurationError("redis_url is no URL of a Redis") from None


def _resume(consumer: AIOKafkaConsumer, places: set[TopicPartition]) -> None:
    for place in places & consumer.assignment():
        consumer.resume(place)


def _moves(records: Sequence[ConsumerRecord], reached: dict[int, int]) -> list[Move]:
    """From where to where each partition goes with `records`; `reached` goes with it."""
    ends = {record.partition: record.offset + 1 for record in records}
    moves = [Move(partition, reached[partition], end) for partition, end in ends.items()]
    reached |= ends
    return moves
