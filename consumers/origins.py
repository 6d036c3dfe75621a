"""The origins consumers: each origin of the settings is told what `session-ended` says.

Each has a group of its own, so that one which is away lags alone, and no revocation waits for any of them. What is told
of one subject goes there one after the other, what is told of several at once. What is not taken is told again, while
its partition alone waits; offsets are committed once the origin has taken all below them, so that whoever comes after a
crash tells it once more, which changes nothing there.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.message import AckStatus

from consumers.denylist_beats import Beats
from consumers.origins_places import Places
from consumers.origins_receipts import Receipts
from consumers.origins_telling import Telling
from consumers.publisher import Publisher
from consumers.subscribing import subscriber
from revoker.errors import UnavailableError
from revoker.logs import get_logger
from revoker.origins import kinds
from revoker.settings import OriginSettings, Settings
from revoker.tasks import was_cancelled
from revoker.telemetry import Metrics
from schemas.topics import Topic

_GROUP: Final = "revoker-origins"
_BATCH: Final = 200
"""Records at once: how far the others of a partition may be ahead of one that is not taken."""
_BEGIN_SECONDS: Final = 5.0
"""How long after a batch has come something of it may still be begun."""
_PLACE_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = (0.25, 2.0)
"""Of a partition. What is not taken may have to wait longer; what comes behind it need not."""
_log = get_logger(__name__)


class Origins:
    """All of them, in this process. Made inside the loop that runs it; `subscribe` before `run`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._beats = Beats(settings)
        self._publisher = Publisher(settings)
        self._followers = [Follower(of, settings, self._beats, self._publisher, metrics) for of in settings.origins]

    def subscribe(self, broker: KafkaBroker) -> None:
        """Registers the subscribers with `broker`, before that is started."""
        for follower in self._followers:
            follower.subscribe(broker)

    async def run(self) -> None:
        """The work beside the batches, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beats.listen())
                for work in (work for follower in self._followers for work in follower.works):
                    tasks.create_task(work())
        finally:
            for follower in self._followers:
                await follower.close()
            await self._publisher.__aexit__()

    def hurry(self) -> None:
        """Begins nothing more: the process is about to end."""
        for follower in self._followers:
            follower.places.hurry.set()

    async def why_unready(self) -> str | None:
        """Which origins take nothing; None: all that were told something took it."""
        found = [f"{follower.of.name} {why}" for follower in self._followers if (why := follower.telling.why_away)]
        return "; ".join(found) or None


class Follower:
    """Follows `session-ended` for one origin."""

    def __init__(
        self, of: OriginSettings, settings: Settings, beats: Beats, publisher: Publisher, metrics: Metrics
    ) -> None:
        group = f"{_GROUP}-{of.name}"
        self.of = of
        self._group = group
        self._topic = settings.topic(Topic.SESSION_ENDED)
        # A batch is as much as is on its way at once, and must be over long before Kafka misses us.
        self._settings = settings.model_copy(update={"limits": settings.limits.model_copy(update={"batch": _BATCH})})
        self._metrics = metrics
        self._metrics.origins.start(of.name)
        self._origin = kinds.origin(of)
        self.places = Places(settings.topic(group), beats, settings, metrics)
        self._receipts = Receipts(of.name, settings.topic(group), self.places, publisher, settings)
        self.telling = Telling(
            settings, of, self._origin, receipts=self._receipts, publisher=publisher, metrics=metrics
        )
        self.works = (self._receipts.send, self._watch)

    def subscribe(self, broker: KafkaBroker) -> None:
        """Registers its subscriber with `broker`."""
        reading = subscriber(broker, self._settings, self._group, [self._topic], self.places)
        self.places.bind(lambda: reading.consumer)

        @reading
        async def on_batch(message: KafkaMessage) -> None:
            await self.on_batch(message)

    async def close(self) -> None:
        """Lets go of what it holds, once no batch is in hand any more."""
        await self.places.close()
        await self._origin.close()

    async def on_batch(self, message: KafkaMessage) -> None:
        """FastStream's handler. Never raises but when cancelled: what is not taken is read again."""
        records: Sequence[ConsumerRecord] = message.raw_message
        consumer: AIOKafkaConsumer = message.consumer
        async with self.places.working:
            try:
                accepted = await self.places.accept(records, _PLACE_SECONDS)
            except (TimeoutError, UnavailableError):
                self._postpone(consumer, {record.partition: record.offset for record in reversed(records)}, {})
            else:
                self.telling.forget_all_but(self.places.applied)
                await self._tell(accepted)
                self._postpone(consumer, self.places.settle(accepted), self._pauses(accepted))
                if await self.places.commit():
                    self._receipts.wake()
        # Offsets are committed above, exactly; FastStream must not commit whatever was fetched.
        message.committed = AckStatus.ACKED

    async def _tell(self, records: Sequence[ConsumerRecord]) -> None:
        """As many as can be taken now, those of one key in their order."""
        chains: dict[bytes, list[ConsumerRecord]] = {}
        for record in records:
            chains.setdefault(record.key or b"", []).append(record)
        until = time.monotonic() + _BEGIN_SECONDS
        queue = iter(chains.values())

        async def hand() -> None:
            for chain in queue:
                await self._one_after_the_other(chain, until)

        # Where it takes nothing, one try at a time is enough to see when it does again.
        hands = 1 if self.telling.is_away else self.of.concurrency
        await asyncio.gather(*(hand() for _ in range(min(hands, len(chains)))))

    async def _one_after_the_other(self, chain: Sequence[ConsumerRecord], until: float) -> None:
        for record in chain:
            if self.places.is_done(record):
                continue
            if time.monotonic() > until or self.places.hurry.is_set() or self.telling.waits(record) > 0:
                return
            if not await self.telling.tell(record):
                return
            self.places.has_done(record)

    def _pauses(self, records: Sequence[ConsumerRecord]) -> dict[int, float]:
        """For how long each partition has to wait for what was not taken."""
        pauses: dict[int, float] = {}
        for record in records:
            wait = self.telling.held_back(record)
            if wait > 0 and not self.places.is_done(record):
                pauses[record.partition] = min(wait, pauses.get(record.partition, wait))
        return pauses

    def _postpone(self, consumer: AIOKafkaConsumer, left: dict[int, int], pauses: dict[int, float]) -> None:
        """Reads what is left again, a while later. The consumer polls on, so that the group keeps it."""
        least, most = _PAUSE_SECONDS
        for number, offset in left.items():
            if not self.places.seek(number, offset):
                continue
            place = TopicPartition(self._topic, number)
            wait = max(least, pauses.get(number, 0.0))
            seconds = wait if self.telling.is_away else min(most, wait)
            consumer.pause(place)
            if number in pauses:
                _log.warning(
                    "partition-paused", topic=self._topic, partition=number, offset=offset, seconds=round(seconds, 2)
                )
            asyncio.get_running_loop().call_later(seconds, _resume, consumer, place)

    async def _watch(self) -> None:
        """Says how far it is, and again to Kafka what Kafka did not hear."""
        while not was_cancelled():
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self.places.look()
                self._metrics.origins.lag(self.of.name, self.places.lag())
                self._metrics.origins.away(self.of.name, self.telling.away_seconds)
                # A batch in hand commits by itself.
                if not self.places.working.locked() and await self.places.commit():
                    self._receipts.wake()
            except Exception as error:  # noqa: BLE001 - a defect of ours must not end the watch
                _log.error("batch-failed", lane="origins", origin=self.of.name, kind="unexpected", error=error)


def _resume(consumer: AIOKafkaConsumer, place: TopicPartition) -> None:
    if place in consumer.assignment():
        consumer.resume(place)
