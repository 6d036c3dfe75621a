"""Where the group of one origin stands: in Kafka alone, as its committed offsets.

With each offset goes the epoch of `session-ended` in which it was committed, so that nothing which was taken of a topic
that was created anew is ever claimed, or passed over, in the new one. All members of the group read the same, so each
of them can say how far the origin is.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalStateError, KafkaError

from consumers.bound import Bound
from consumers.denylist_beats import Beats
from revoker.errors import UnavailableError
from revoker.kafka import client_options
from revoker.logs import get_logger
from revoker.settings import Settings
from revoker.tasks import was_cancelled
from revoker.telemetry import Metrics
from schemas.topics import Topic

_KAFKA_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0
_log = get_logger(__name__)


class Places(Bound):
    """The partitions of one member. `bind` gives it the consumer, once there is one."""

    def __init__(self, group: str, beats: Beats, settings: Settings, metrics: Metrics) -> None:
        super().__init__()
        self._group = group
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._beats = beats
        self._options = client_options(settings)
        self._metrics = metrics
        self._admin: AIOKafkaAdminClient | None = None
        self._placing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._rewound: set[int] = set()
        self._told: dict[int, tuple[int, str]] = {}
        self._asking = asyncio.Lock()
        self._heard: str | None = None
        self.epoch: str | None = None
        """That of `session-ended`, once it was heard for a while: the first beats that are read may be old."""
        self.applied: dict[int, int] = {}
        """The next offset that the origin has not taken, of each partition that has been placed."""
        self.done: dict[int, set[int]] = {}
        """What it has taken beyond that."""
        self.hurry = asyncio.Event()
        """Set while nothing more should be begun: partitions are about to go, or the process is."""

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits for what is on its way: what the origin takes, the next owner need not tell it."""
        self.hurry.set()
        await self.drained()
        self._forget(partition.partition for partition in revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Finds out, beside the rebalance, where these start."""
        del assigned
        self.hurry.clear()
        self._start_over()

    def look(self) -> None:
        """To be called every second or so: another epoch means that everything begins anew."""
        heard, before = self._beats.epoch, self._heard
        self._heard = heard
        if heard is None or heard != before or heard == self.epoch:
            return
        self.epoch = heard
        if any(epoch not in {"", heard} for _, epoch in self._told.values()):
            self._start_over()

    async def accept(self, records: Sequence[ConsumerRecord], within: float) -> list[ConsumerRecord]:
        """Those of `records` that may be told: of partitions that are ours, and not fetched before a rewind.

        Raises `TimeoutError` while it is not known where the partitions start.
        """
        fetched = {record.partition for record in records}
        async with asyncio.timeout(within):
            while not (places := fetched & self._ours()) <= self.applied.keys():
                self._changed.clear()
                await self._changed.wait()
        stale = places & self._rewound
        self._rewound -= places
        for number in stale:
            self.seek(number, self.applied[number])
        firsts = {record.partition: record.offset for record in reversed(records)}
        for number in places - stale:
            if firsts[number] < self.applied[number]:
                # The topic was created anew below us; what we know of its offsets is void.
                self.applied[number] = firsts[number]
                self.done.pop(number, None)
        return [record for record in records if record.partition in places - stale]

    def settle(self, records: Sequence[ConsumerRecord]) -> dict[int, int]:
        """Moves on over what is done of `records`. Where something is left: partition to the offset to go back to."""
        left: dict[int, int] = {}
        for record in records:
            number = record.partition
            if number in left or number not in self.applied:
                continue
            if record.offset in self.done.get(number, ()):
                self.done[number].discard(record.offset)
                self.applied[number] = record.offset + 1
            elif record.offset >= self.applied[number]:
                left[number] = record.offset
        return left

    def is_done(self, record: ConsumerRecord) -> bool:
        """Whether the origin has taken it already."""
        at = self.applied.get(record.partition, 0)
        return record.offset < at or record.offset in self.done.get(record.partition, ())

    def has_done(self, record: ConsumerRecord) -> None:
        """The origin has taken it, or never will."""
        if record.partition in self.applied:
            self.done.setdefault(record.partition, set()).add(record.offset)

    async def commit(self) -> bool:
        """Tells Kafka how far we are, where it does not know. Whether something was told."""
        try:
            mine = self._ours()
            reached = {n: (at, self.epoch or "") for n, at in self.applied.items() if n in mine}
            news = {n: place for n, place in reached.items() if self._told.get(n) != place}
            if not news:
                return False
            async with asyncio.timeout(_KAFKA_SECONDS):
                await self.consumer.commit({TopicPartition(self._topic, n): place for n, place in news.items()})
        except (KafkaError, IllegalStateError, TimeoutError, UnavailableError, ValueError) as error:
            # The origin has taken it all the same; it is told once more, at worst.
            _log.warning("dependency-unavailable", dependency="kafka", group=self._group, error=error)
            return False
        self._told |= news
        return True

    async def committed(self) -> Mapping[int, int]:
        """How far the whole group is, of this epoch alone. Raises what the client raises."""
        return {n: at for n, (at, epoch) in (await self._committed()).items() if epoch == self.epoch}

    def lag(self) -> int:
        """How many records wait here, as far as the consumer has heard."""
        with suppress(UnavailableError):
            consumer = self.consumer
            ends = {place.partition: consumer.highwater(place) for place in consumer.assignment()}
            return sum(max(0, end - self.applied.get(n, end)) for n, end in ends.items() if end is not None)
        return 0

    def seek(self, number: int, offset: int) -> bool:
        """Goes there, where the partition is still ours. Returns whether it is."""
        try:
            self.consumer.seek(TopicPartition(self._topic, number), offset)
        except IllegalStateError:
            return False
        return True

    async def close(self) -> None:
        """Stops asking. Safe to call twice."""
        placing, self._placing = self._placing, None
        if placing is not None:
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)
        await self._close_admin()

    def _ours(self) -> set[int]:
        return {partition.partition for partition in self.consumer.assignment()}

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in list(numbers):
            self.applied.pop(number, None)
            self.done.pop(number, None)
            self._told.pop(number, None)

    def _start_over(self) -> None:
        if self._placing is not None:
            self._placing.cancel()
        self._forget([*self.applied])
        self._changed.set()
        self._placing = asyncio.create_task(self._place())

    async def _place(self) -> None:
        while not was_cancelled():
            try:
                await self._place_once()
            except Exception as error:  # noqa: BLE001 - whatever it is, without this the partitions would wait for ever
                _log.warning("start-positions-unknown", group=self._group, error=error)
                await asyncio.sleep(_RETRY_SECONDS * (0.5 + random.random()))
            else:
                return

    async def _place_once(self) -> None:
        consumer = self.consumer
        partitions = sorted(consumer.assignment())
        committed = await self._committed()
        first = await consumer.beginning_offsets(partitions)
        last = await consumer.end_offsets(partitions)
        for partition in partitions:
            number = partition.partition
            at, epoch = committed.get(number, (first[partition], ""))
            start = at
            if at > last[partition] or (epoch and self.epoch is not None and epoch != self.epoch):
                self._alarm("beyond_end", number, at, last[partition])
                start = first[partition]
            elif at < first[partition]:
                self._alarm("gap", number, at, first[partition])
                start = first[partition]
            if start != at and self.seek(number, start):
                self._rewound.add(number)
            if number in committed and start == at:
                self._told[number] = at, epoch
            self.applied[number] = start
        self._changed.set()

    def _alarm(self, kind: str, number: int, at: int, bound: int) -> None:
        if kind == "gap":
            self._metrics.position_alarm("gap")
            _log.error("position-gap", group=self._group, partition=number, position=at, log_start=bound)
        else:
            self._metrics.position_alarm("beyond_end")
            _log.error("position-beyond-end", group=self._group, partition=number, position=at, log_end=bound)

    async def _committed(self) -> dict[int, tuple[int, str]]:
        """What every member has committed, with the epoch."""
        try:
            async with asyncio.timeout(_KAFKA_SECONDS), self._asking:
                if self._admin is None:
                    self._admin = AIOKafkaAdminClient(**self._options)
                    await self._admin.start()
                found = await self._admin.list_consumer_group_offsets(self._group)
        except BaseException:
            await self._close_admin()
            raise
        return {
            place.partition: (entry.offset, entry.metadata or "")
            for place, entry in found.items()
            if place.topic == self._topic and entry.offset >= 0
        }

    async def _close_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await admin.close()
