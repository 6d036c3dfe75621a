"""Where each assigned partition starts, and who may work on it now.

A partition starts at the lesser of what the database says is applied and what the group has committed: a database that
was restored rewinds its inputs by itself, and one that knows nothing of a partition reads it from the beginning. Until
that is known, records of the partition are left alone.

When partitions are taken away, the batch in hand is finished and committed first, within bounds, so that the next owner
need not do it again.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.bound import Bound
from consumers.settle import Place
from revoker.logs import get_logger
from revoker.storage.positions import (
    Positions,
    adopt_positions,
    read_earlier_positions,
    read_positions,
    rewind_positions,
)
from revoker.telemetry import Metrics
from schemas.inputs import Lane

_RETRY_SECONDS: Final = 1.0
_log = get_logger(__name__)


class Assignment(Bound):
    """The partitions of one lane's consumer. `bind` gives it the consumer, once there is one."""

    def __init__(self, lane: Lane, engine: AsyncEngine, metrics: Metrics) -> None:
        super().__init__()
        self._lane = lane
        self._engine = engine
        self._metrics = metrics
        self._placing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._rewound: set[Place] = set()
        self.applied: dict[Place, int] = {}
        """The next offset to apply of each partition that has been placed."""

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits for the batch in hand, since after this its offsets could not be committed any more."""
        await self.drained()
        for partition in revoked:
            self.applied.pop((partition.topic, partition.partition), None)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Finds out, beside the rebalance, where these start."""
        await self.close()
        self._changed.set()
        if assigned:
            self._placing = asyncio.create_task(self._place(sorted(assigned)))

    async def close(self) -> None:
        """Stops finding out. Safe to call twice."""
        placing, self._placing = self._placing, None
        if placing is not None:
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)

    async def accept(self, records: Sequence[ConsumerRecord], within: float) -> list[ConsumerRecord]:
        """Those of `records` that may be applied: of partitions that are ours, and not fetched before a rewind.

        Raises `TimeoutError` while it is not known where the partitions start.
        """
        fetched = {(record.topic, record.partition) for record in records}
        async with asyncio.timeout(within):
            while not (places := fetched & self._ours()) <= self.applied.keys():
                self._changed.clear()
                await self._changed.wait()
        # Nobody can tell whether these were fetched before the seek: they are read once more, and applied once.
        stale = places & self._rewound
        self._rewound -= places
        for place in stale:
            self.seek(place, self.applied[place])
        places -= stale
        return [record for record in records if (record.topic, record.partition) in places]

    def _ours(self) -> set[Place]:
        """The partitions that are assigned now; a rebalance may have taken some that a batch still holds."""
        return {(partition.topic, partition.partition) for partition in self.consumer.assignment()}

    def seek(self, place: Place, offset: int) -> bool:
        """Goes to `offset`, where the partition is still ours. Returns whether it is."""
        return self._move(TopicPartition(*place), offset)

    def _move(self, partition: TopicPartition, offset: int) -> bool:
        consumer = self.consumer
        try:
            consumer.seek(partition, offset)
        except IllegalStateError:
            return False
        return True

    async def _place(self, partitions: Sequence[TopicPartition]) -> None:
        while True:
            try:
                await self._place_once(partitions)
            except Exception as error:  # noqa: BLE001 - whatever it is, without this the partitions would wait for ever
                _log.warning("start-positions-unknown", error=error)
                await asyncio.sleep(_RETRY_SECONDS * (0.5 + random.random()))
            else:
                return

    async def _place_once(self, partitions: Sequence[TopicPartition]) -> None:
        consumer = self.consumer
        first = await consumer.beginning_offsets(list(partitions))
        last = await consumer.end_offsets(list(partitions))
        committed = {partition: await consumer.committed(partition) for partition in partitions}
        stored = await self._stored(
            sorted({partition.topic for partition in partitions}),
            [(partition.topic, partition.partition) for partition in partitions if committed[partition] is not None],
        )
        starts = {
            partition: await self._start(
                place := (partition.topic, partition.partition),
                stored.get(place),
                committed[partition],
                first[partition],
                last[partition],
            )
            for partition in partitions
        }
        if unheard := {partition: start for partition, start in starts.items() if committed[partition] is None}:
            # The database's word alone would pass over what is applied and was not announced yet when we die.
            await consumer.commit(unheard)
        for partition, start in starts.items():
            place = partition.topic, partition.partition
            if start != committed[partition] and self._move(partition, start):
                self._rewound.add(place)
            self.applied[place] = start
        self._changed.set()

    async def _stored(self, topics: Sequence[str], read_before: Sequence[Place]) -> Positions:
        """What this lane has applied. The release before kept no lanes: its word counts where this one has read."""
        stored = await read_positions(self._engine, self._lane, topics)
        earlier = await read_earlier_positions(self._engine, topics)
        adopted = {place: earlier[place] for place in read_before if place in earlier and place not in stored}
        if adopted:
            await adopt_positions(self._engine, self._lane, adopted)
        return {**adopted, **stored}

    async def _start(self, place: Place, stored: int | None, committed: int | None, first: int, last: int) -> int:
        """The lesser of what is applied and what is committed, held against what the log still has."""
        wanted = first if stored is None else stored if committed is None else min(stored, committed)
        topic, partition = place
        if wanted > last:
            self._metrics.position_alarm("beyond_end")
            _log.error("position-beyond-end", topic=topic, partition=partition, position=wanted, log_end=last)
            await rewind_positions(self._engine, self._lane, {place: first})
            return first
        if wanted < first:
            self._metrics.position_alarm("gap")
            _log.error("position-gap", topic=topic, partition=partition, position=wanted, log_start=first)
            return first
        return wanted
