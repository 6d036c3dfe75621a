"""What is done is committed, exactly; what is not is read again, a while later, while its partition alone waits."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from consumers.assignment import Assignment
from consumers.settle import Ledger, Place
from revoker.errors import UnavailableError
from revoker.logs import get_logger
from revoker.telemetry import Metrics
from schemas.inputs import Lane

_COMMIT_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 10.0
_BACK_OFF_SECONDS: Final = (0.5, 30.0)
_log = get_logger(__name__)


class Offsets:
    """The offsets of one lane. Back-off is a pause of the partition: the consumer polls on, and others go on."""

    def __init__(self, lane: Lane, assignment: Assignment, metrics: Metrics) -> None:
        self._lane = lane
        self._assignment = assignment
        self._metrics = metrics
        self._attempts: dict[Place, int] = {}
        self._paused: set[Place] = set()
        self._owed: dict[Place, int] = {}
        self._owed_since = 0.0
        self._committing = asyncio.Lock()

    async def settle(self, consumer: AIOKafkaConsumer, ledger: Ledger) -> None:
        """Commits what is done; what is not is read again, a while later."""
        unsettled = ledger.unsettled()
        settled = ledger.settled()
        for place, offset in settled.items():
            if place in self._assignment.applied:
                self._assignment.applied[place] = offset
            if place not in unsettled:
                self._attempts.pop(place, None)
        for place, offset in unsettled.items():
            self._postpone(consumer, place, offset)
        async with self._committing:
            await self._commit(consumer, settled)

    async def commit_again(self) -> None:
        """Commits what Kafka did not take, until cancelled: after the last record there is no next batch to do so."""
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            async with self._committing:
                with suppress(UnavailableError):
                    await self._commit(self._assignment.consumer, await self._still_owed())

    async def _still_owed(self) -> Mapping[Place, int]:
        """What has moved on since, or belongs to somebody else by now, is not ours to say.

        Nor is what lies below that which is committed: a member that was away for too long may not know yet that it is
        one no more, and once the others have left, too, Kafka takes from it whatever it says.
        """
        applied = self._assignment.applied
        self._owed = {place: offset for place, offset in self._owed.items() if applied.get(place) == offset}
        consumer = self._assignment.consumer
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                committed = {place: await consumer.committed(TopicPartition(*place)) for place in self._owed}
        except (KafkaError, IllegalStateError, TimeoutError):
            return {}
        self._owed = {place: offset for place, offset in self._owed.items() if (committed[place] or 0) < offset}
        return self._owed

    async def _commit(self, consumer: AIOKafkaConsumer, settled: Mapping[Place, int]) -> None:
        assigned = consumer.assignment()
        offsets = {place: offset for place, offset in settled.items() if TopicPartition(*place) in assigned}
        if not offsets:
            return
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await consumer.commit({TopicPartition(*place): offset for place, offset in offsets.items()})
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            # All is applied and announced; not to have said so means only that it is read again.
            self._owed_since = self._owed_since if self._owed else time.monotonic()
            self._owed = {**self._owed, **offsets}
            self._metrics.failed(self._lane, "kafka")
            _log.error("batch-failed", lane=self._lane.value, kind="kafka", error=error)
        else:
            self._owed = {place: offset for place, offset in self._owed.items() if place not in offsets}

    def _postpone(self, consumer: AIOKafkaConsumer, place: Place, offset: int) -> None:
        if not self._assignment.seek(place, offset):
            return
        attempt = self._attempts[place] = self._attempts.get(place, 0) + 1
        least, most = _BACK_OFF_SECONDS
        delay = min(most, least * 2 ** (attempt - 1)) * (0.5 + random.random() / 2)
        partition = TopicPartition(*place)
        consumer.pause(partition)
        self._paused.add(place)
        self._metrics.paused(self._lane, len(self._paused))
        _log.warning("partition-paused", topic=place[0], partition=place[1], offset=offset, seconds=round(delay, 2))
        asyncio.get_running_loop().call_later(delay, self._resume, consumer, partition)

    def _resume(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        self._paused.discard((partition.topic, partition.partition))
        self._metrics.paused(self._lane, len(self._paused))
        if partition in consumer.assignment():
            consumer.resume(partition)

    def lags(self) -> dict[Place, int]:
        """How many records of each partition wait, as far as the consumer has heard."""
        try:
            consumer = self._assignment.consumer
        except UnavailableError:
            return {}
        lags: dict[Place, int] = {}
        for partition in consumer.assignment():
            place = (partition.topic, partition.partition)
            end, applied = consumer.highwater(partition), self._assignment.applied.get(place)
            if end is not None and applied is not None:
                lags[place] = max(0, end - applied)
        return lags

    def owed_for(self) -> float:
        """For how many seconds a broker that answers has not taken offsets; 0: it has taken them, or is away."""
        try:
            assigned = self._assignment.consumer.assignment()
        except UnavailableError:
            return 0.0
        answered = any(
            self._answered(TopicPartition(*place)) for place in self._owed if TopicPartition(*place) in assigned
        )
        return time.monotonic() - self._owed_since if answered else 0.0

    def is_waiting_in_vain(self) -> bool:
        """Whether records wait that nobody holds back, and the broker answers."""
        return any(
            lag and place not in self._paused and self._answered(TopicPartition(*place))
            for place, lag in self.lags().items()
        )

    def _answered(self, partition: TopicPartition) -> bool:
        polled = self._assignment.consumer.last_poll_timestamp(partition)
        return bool(polled) and time.time() - polled / 1000 < _ANSWER_SECONDS
