"""Where each assigned partition starts: where Redis stands, whatever Kafka's group has committed.

A position in Redis lies in the same write as its data. So when Redis loses something, it loses both, and the partition
is read again from there; when it knows nothing of a partition, from the beginning. Two things make all positions void,
a build of their own begins then: there is none (Redis is empty), or one lies beyond the end of its log (the topic was
created anew).
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError

from consumers.bound import Bound
from consumers.denylist_beats import Beats
from revoker.logs import get_logger
from revoker.projection.store import UNKNOWN_FEED, Projection, State
from revoker.telemetry import Metrics
from revoker.telemetry.names import Rebuild

_RETRY_SECONDS: Final = (0.5, 4.0)
_log = get_logger(__name__)


class Places(Bound):
    """The partitions of one consumer. `bind` gives it the consumer, once there is one."""

    def __init__(self, projection: Projection, beats: Beats, topic: str, metrics: Metrics) -> None:
        super().__init__()
        self._projection = projection
        self._beats = beats
        self._topic = topic
        self._metrics = metrics
        self._placing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._rewound: set[int] = set()
        self._leapt: dict[int, int] = {}
        self.build = ""
        """Under which build these partitions work; empty before the first is placed."""
        self.generation = 0
        """Counts the times at which all that was known became void."""
        self.applied: dict[int, int] = {}
        """The next offset to write of each partition that has been placed."""

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits for the batch in hand: what it writes, the next owner need not."""
        await self.drained()
        for partition in revoked:
            self.applied.pop(partition.partition, None)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Finds out, beside the rebalance, where these start."""
        del assigned
        self.start_over()

    def start_over(self) -> None:
        """Asks Redis again where all partitions start."""
        if self._placing is not None:
            self._placing.cancel()
        self.generation += 1
        self.applied.clear()
        self._changed.set()
        self._placing = asyncio.create_task(self._place())

    async def close(self) -> None:
        """Stops asking. Safe to call twice."""
        placing, self._placing = self._placing, None
        if placing is not None:
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)

    async def accept(self, records: Sequence[ConsumerRecord], within: float) -> list[ConsumerRecord]:
        """Those of `records` that may be written: of partitions that are ours, and not fetched before a rewind.

        Raises `TimeoutError` while it is not known where the partitions start.
        """
        fetched = {record.partition for record in records}
        async with asyncio.timeout(within):
            while not (places := fetched & self._ours()) <= self.applied.keys():
                self._changed.clear()
                await self._changed.wait()
        # Nobody can tell whether these were fetched before the seek: they are read once more, and written once. So are
        # those that do not follow what was written, in case the consumer went elsewhere by itself.
        stale = (places & self._rewound) | self._leaps(records, places)
        self._rewound -= places
        for number in stale:
            self._seek(number, self.applied[number])
        places -= stale
        return [record for record in records if record.partition in places]

    def _leaps(self, records: Sequence[ConsumerRecord], places: set[int]) -> set[int]:
        """Partitions of which records seem to be missing. The second time they are: the log has deleted them."""
        firsts: dict[int, int] = {}
        for record in records:
            firsts.setdefault(record.partition, record.offset)
        leaps = {n: at for n, at in firsts.items() if n in places and at > self.applied[n] and self._leapt.get(n) != at}
        self._leapt |= leaps
        return set(leaps)

    def advance(self, generation: int, reached: Mapping[int, int]) -> None:
        """Redis holds all below these offsets, as of `generation`."""
        if generation == self.generation:
            self.applied |= {number: offset for number, offset in reached.items() if number in self.applied}

    def rewind(self, place: TopicPartition) -> None:
        """Goes back to what is not written yet, where that is known; else the placing will."""
        offset = self.applied.get(place.partition)
        if offset is not None:
            self._seek(place.partition, offset)

    async def begin(self, state: State, reason: Rebuild, evicted: int) -> str:
        """The build that follows that of `state`; another member may have begun it."""
        feed = state.feed if reason == "evicted" else self.next_feed(state) or UNKNOWN_FEED
        build = await self._projection.begin(state.build, feed, evicted)
        self._metrics.denylist.rebuilding(reason)
        _log.warning("projection-rebuilding", reason=reason, build=build, feed=feed)
        return build

    def next_feed(self, state: State) -> str | None:
        """The feed's epoch, where heartbeats tell of another than Redis knows; never one that it had before."""
        heard = self._beats.epoch
        return None if heard is None or heard == state.feed or heard in state.past else heard

    def _ours(self) -> set[int]:
        return {partition.partition for partition in self.consumer.assignment()}

    def _seek(self, number: int, offset: int) -> bool:
        try:
            self.consumer.seek(TopicPartition(self._topic, number), offset)
        except IllegalStateError:
            return False
        return True

    async def _place(self) -> None:
        delay = _RETRY_SECONDS[0]
        while True:
            try:
                await self._place_once()
            except Exception as error:  # noqa: BLE001 - whatever it is, without this the partitions would wait for ever
                _log.warning("start-positions-unknown", error=error)
                await asyncio.sleep(delay * (0.5 + random.random() / 2))
                delay = min(2 * delay, _RETRY_SECONDS[1])
            else:
                return

    async def _place_once(self) -> None:
        consumer = self.consumer
        partitions = sorted(consumer.assignment())
        if not partitions:
            return
        # Asked before the log, which only grows: a position beyond its end is none of this log.
        state = await self._projection.state()
        first = await consumer.beginning_offsets(partitions)
        last = await consumer.end_offsets(partitions)
        build = state.build
        if not build:
            build = await self.begin(state, "empty", (await self._projection.server()).evicted)
        elif any(state.positions.get(partition.partition, 0) > last[partition] for partition in partitions):
            self._metrics.position_alarm("beyond_end")
            build = await self.begin(state, "recreated", state.evicted)
        starts = await self._projection.place(
            build, {partition.partition: first[partition] for partition in partitions}
        )
        for number, start in starts.items():
            if 0 < state.positions.get(number, 0) < start and build == state.build:
                self._metrics.position_alarm("gap")
                _log.error("position-gap", topic=self._topic, partition=number, log_start=start)
            if self._seek(number, start):
                self._rewound.add(number)
                self.applied[number] = start
        self.build = build
        self._changed.set()
