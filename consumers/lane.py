"""One consumer group's way of working off a batch, whatever it does with the records.

    read      each record by itself: a payload, a rejection, or nothing of ours
    store     the payloads of a chunk, one transaction
    announce  what that ended, and what was set aside; wait for every acknowledgement
    mark      the batches as announced, once for all chunks
    commit    the offsets up to which all of it is done, exactly, partition by partition

Chunks overlap: while one is in the database, another is read or announced. Three things can go wrong, told apart by
type alone. A dependency is away: everything unfinished is read again, later. A chunk is too much, or one of its records
is: it is halved, until the one is alone. And that one is the data's fault (set aside) or ours (its partition waits,
loudly, and no other does).
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from faststream.kafka import KafkaMessage
from faststream.message import AckStatus
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.assignment import Assignment
from consumers.offsets import Offsets
from consumers.publisher import Outgoing, SessionEndedAnnouncer
from consumers.settle import Ledger, Place
from revoker.errors import PublishError, UnavailableError
from revoker.logs import get_logger
from revoker.service.announce import announce
from revoker.service.revoke import Work
from revoker.settings import Settings
from revoker.storage.batches import mark_announced
from revoker.storage.database import Fault, fault_of
from revoker.storage.positions import Positions
from revoker.telemetry import Metrics, Tracing
from revoker.telemetry.names import Step
from revoker.telemetry.spans import SpanName
from schemas.codec import Ignored, Reason, Rejected
from schemas.inputs import Lane as LaneName
from schemas.topics import Topic

_PLACE_SECONDS: Final = 20.0
_LOOK_BACK_SECONDS: Final = 2.0
_SPANS: Final[Mapping[Step, SpanName]] = {
    "decode": "revoker.decode",
    "database": "revoker.database",
    "publish": "revoker.publish",
    "announce": "revoker.announce",
}
_log = get_logger(__name__)

PayloadT = TypeVar("PayloadT")


class Trade(Protocol[PayloadT]):
    """What a consumer group does with its records. Only `Rejected` says that a record can never work."""

    lane: LaneName

    def read(self, record: ConsumerRecord) -> PayloadT | Ignored:
        """What `record` says. Raises `Rejected`."""
        ...

    async def store(self, payloads: Sequence[PayloadT], positions: Callable[[], Positions]) -> Work:
        """Stores the payloads in one transaction, with `positions` as they are just before its commit."""
        ...

    async def look_back(self) -> None:
        """Finds out, once all is announced, what nobody has to wait for. What it raises is logged."""
        ...


@dataclass(slots=True)
class _Item(Generic[PayloadT]):
    record: ConsumerRecord
    payload: PayloadT

    @property
    def place(self) -> Place:
        return self.record.topic, self.record.partition


@dataclass(slots=True)
class _Done:
    chunk: int
    works: list[Work]
    written: dict[int, int]


class Lane(Generic[PayloadT]):
    """Works off batches with `trade`. One batch at a time."""

    def __init__(  # noqa: PLR0917 - the composition root gives it its parts
        self,
        trade: Trade[PayloadT],
        assignment: Assignment,
        announcer: SessionEndedAnnouncer,
        engine: AsyncEngine,
        settings: Settings,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._trade = trade
        self._tracing = tracing
        self._announcer = announcer
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._in_hand: set[UUID] = set()
        self._looking: asyncio.Task[None] | None = None
        self._behind = False
        self.name = trade.lane
        self.assignment = assignment
        self.offsets = Offsets(trade.lane, assignment, metrics)
        self.busy_since: float | None = None
        """When the batch in hand was taken (monotonic seconds); None between batches."""
        self.last_done = time.monotonic()
        """When the last batch was finished, whatever became of it."""

    async def on_batch(self, message: KafkaMessage) -> None:
        """FastStream's handler. Never raises but when cancelled: what is not done is read again."""
        records: Sequence[ConsumerRecord] = message.raw_message
        consumer: AIOKafkaConsumer = message.consumer
        async with self.assignment.working:
            self.busy_since = time.monotonic()
            try:
                with self._tracing.span("revoker.batch", lane=self.name, records=len(records)):
                    await self.offsets.settle(consumer, await self._work_off(records))
                self._look_back_soon()
            finally:
                self._in_hand.clear()
                self.busy_since, self.last_done = None, time.monotonic()
        # Offsets are committed above, exactly; FastStream must not commit whatever was fetched.
        message.committed = AckStatus.ACKED

    async def _work_off(self, records: Sequence[ConsumerRecord]) -> Ledger:
        ledger = Ledger()
        try:
            accepted = await self.assignment.accept(records, _PLACE_SECONDS)
        except (TimeoutError, UnavailableError):
            ledger.enter(0, (((r.topic, r.partition), r.offset) for r in records))
            self._failed("database")
            return ledger
        self._metrics.batch(self.name, len(accepted))
        size = self._settings.limits.chunk
        chunks = [accepted[start : start + size] for start in range(0, len(accepted), size)]
        for number, chunk in enumerate(chunks):
            ledger.enter(number, (((r.topic, r.partition), r.offset) for r in chunk))
        done: list[_Done] = []
        queue = iter(enumerate(chunks))
        hands = min(self._settings.limits.in_flight, len(chunks))
        await asyncio.gather(*(self._hand(queue, ledger, done) for _ in range(hands)))
        await self._mark(done, ledger)
        return ledger

    async def _hand(
        self, queue: Iterator[tuple[int, Sequence[ConsumerRecord]]], ledger: Ledger, done: list[_Done]
    ) -> None:
        """Works off one chunk after the other until there are no more, or one did not work."""
        for number, chunk in queue:
            try:
                done.append(await self._chunk(number, chunk, ledger))
            except PublishError as error:
                self._failed("kafka", error)
            except Exception as error:  # noqa: BLE001 - nothing of ours may pass a record over
                self._failed("database" if fault_of(error) is Fault.PASSING else "unexpected", error)
            else:
                continue
            for _ in queue:
                pass

    async def _chunk(self, number: int, records: Sequence[ConsumerRecord], ledger: Ledger) -> _Done:
        rejected: list[Outgoing] = []
        with self._step("decode", number):
            items = [item for record in records if (item := self._read(record, rejected, ledger)) is not None]
        with self._step("database", number):
            works = await self._store(items, lambda: ledger.committed_with(number), rejected, ledger)
        committed = time.monotonic()
        ledger.commit(number)
        self._in_hand.update(batch_id for work in works for batch_id in work.batch_ids)
        with self._step("publish", number):
            written: dict[int, int] = {}
            for work in works:
                # A repeat in the same batch finds its first copy committed and not announced: that is about to be.
                told = replace(work, unannounced=work.unannounced - self._in_hand)
                for partition, offset in (await announce(self._engine, self._announcer, told)).items():
                    written[partition] = max(offset, written.get(partition, -1))
            if any(work.batch_ids for work in works):
                self._metrics.published_after([time.monotonic() - committed])
            await self._announcer.publisher.publish(rejected)
        return _Done(number, works, written)

    @contextmanager
    def _step(self, step: Step, chunk: int | None = None) -> Iterator[None]:
        started = time.monotonic()
        with self._tracing.span(_SPANS[step], lane=self.name, chunk=chunk):
            yield
        self._metrics.step(self.name, step, time.monotonic() - started)

    def _read(self, record: ConsumerRecord, rejected: list[Outgoing], ledger: Ledger) -> _Item[PayloadT] | None:
        try:
            payload = self._trade.read(record)
        except Rejected as reason:
            rejected.append(self._set_aside(record, reason))
            return None
        except Exception as error:  # noqa: BLE001 - a defect of ours: this partition waits, no other does
            self._park(record, ledger, "decode", error)
            return None
        if isinstance(payload, Ignored):
            self._metrics.events(self.name, "ignored")
            return None
        return _Item(record, payload)

    async def _store(
        self,
        items: Sequence[_Item[PayloadT]],
        positions: Callable[[], Positions],
        rejected: list[Outgoing],
        ledger: Ledger,
    ) -> list[Work]:
        """Stores `items`, in halves where they do not work together. Raises what may pass by waiting."""
        try:
            return [await self._trade.store([item.payload for item in items], positions)]
        except Exception as error:
            fault = fault_of(error)
            if fault is Fault.PASSING:
                raise
            if len(items) > 1:
                middle = len(items) // 2
                halves = items[:middle], items[middle:]
                return [work for half in halves for work in await self._store(half, dict, rejected, ledger)]
            if items and fault is Fault.REFUSED:
                rejected.append(self._set_aside(items[0].record, Rejected(Reason.REFUSED_BY_DATABASE)))
            elif items:
                kind = "lock_timeout" if fault is Fault.CONTENDED else "unexpected"
                self._park(items[0].record, ledger, kind, error)
            else:
                raise
            return []

    async def _mark(self, done: Sequence[_Done], ledger: Ledger) -> None:
        if not done:
            return
        reached: dict[Place, int] = {}
        for one in done:
            for place, offset in ledger.committed_with(one.chunk).items():
                reached[place] = max(offset, reached.get(place, -1))
        try:
            marks = [(batch_id, one.written) for one in done for work in one.works for batch_id in work.batch_ids]
            with self._step("announce"):
                await mark_announced(self._engine, marks, (self.name, reached))
        except Exception as error:  # noqa: BLE001 - as in _hand
            self._failed("database" if fault_of(error) is Fault.PASSING else "unexpected", error)
            return
        for one in done:
            ledger.announce(one.chunk)

    def _look_back_soon(self) -> None:
        self._behind = True
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_back())

    async def _look_back(self) -> None:
        """Beside the next batch, of which nobody has to wait for this."""
        while self._behind:
            self._behind = False
            try:
                await self._trade.look_back()
            except Exception as error:  # noqa: BLE001 - nothing depends on it
                self._failed("database" if fault_of(error) is Fault.PASSING else "unexpected", error)

    async def close(self) -> None:
        """Finishes looking back, within bounds. For when there are no more batches."""
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=_LOOK_BACK_SECONDS)
            self._looking.cancel()

    def _park(self, record: ConsumerRecord, ledger: Ledger, kind: Any, error: Exception) -> None:  # noqa: ANN401
        ledger.park((record.topic, record.partition), record.offset)
        self._failed(kind, error, topic=record.topic, partition=record.partition, offset=record.offset)

    def _failed(self, kind: Any, error: Exception | None = None, **fields: str | int) -> None:  # noqa: ANN401
        self._metrics.failed(self.name, kind)
        _log.error("batch-failed", lane=self.name.value, kind=kind, error=error, **fields)

    def _set_aside(self, record: ConsumerRecord, reason: Rejected) -> Outgoing:
        self._metrics.events(self.name, "rejected")
        self._metrics.rejected(record.topic, reason.reason)
        origin = (
            ("revoker-reason", str(reason).encode()),
            ("revoker-topic", record.topic.encode()),
            ("revoker-partition", str(record.partition).encode()),
            ("revoker-offset", str(record.offset).encode()),
        )
        headers = [header for header in record.headers if not header[0].startswith("revoker-")]
        topic = self._settings.topic(Topic.REJECTED_EVENTS)
        return Outgoing(topic, record.key, record.value, (*headers, *origin))
