"""What was set aside: looking at it, and sending it once more where it came from.

A replay republishes the original bytes, key and headers, to the original partition, so that the neighbours of a key
stay in order. It goes to topics that the service reads and to no other: the headers that say where a record came from
are as trustworthy as whoever may write to `rejected-events`. Doing it twice changes nothing: events are known by id.
A notification that an origin did not take goes out once more on `session-ended`, for all who read it, if it still lies
there word for word: so nobody can slip one in. Whoever had it already knows its id; the origin gets another chance.
An event without a time of its own happens, for us, when Kafka takes it: replayed, that is the time of the replay.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from pydantic_core import from_json

from revoker.logs import mask_text
from revoker.service import reach, records
from revoker.service.records import Log
from revoker.settings import Settings
from schemas.topics import REJECTED_HEADERS, TOPICS, Direction, Topic

_OURS: Final = "revoker-"
_TYPES: Final = ("type", "eventType", "resourceType", "action")
"""Where events, ours or those of platforms, say what they are."""
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRecord:
    """A record as it arrived, and why it was set aside."""

    partition: int
    offset: int
    """Of `rejected-events`: with the partition, its name for `replay --offset`."""
    at: datetime
    reason: str
    """One of `schemas.codec.Reason`; whatever a stranger wrote there; empty where nothing says so."""
    detail: str
    topic: str | None
    """Where it came from; None where the headers do not say so well."""
    topic_partition: int | None
    topic_offset: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    """The original ones."""

    @property
    def type(self) -> str | None:
        """The event type that it claims, made safe to show."""
        claimed = next((value for name, value in self.headers if name.lower() == "ce_type"), None)
        if claimed is not None:
            return preview(claimed, 80)
        with suppress(ValueError):
            event = from_json(self.value or b"")
            named = [event[name] for name in _TYPES if name in event] if isinstance(event, dict) else []
            if named and isinstance(named[0], str):
                return preview(named[0].encode("utf-8", "replace"), 80)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of those chosen, by reason."""

    sent: Counter[str]
    unknown_origin: int
    """Skipped: the headers name no topic that the service reads."""


def preview(value: bytes | None, limit: int) -> str:
    """The beginning of `value`, safe for a terminal and without what looks like a secret."""
    if value is None:
        return ""
    return mask_text(value[: 4 * limit].decode("utf-8", "replace"), limit)


async def newest(settings: Settings, limit: int) -> list[RejectedRecord]:
    """The last `limit` records, newest first."""
    async with records.opened(settings, settings.topic(Topic.REJECTED_EVENTS)) as log:
        kept = [_read(record) async for record in records.between(log, records.last(log, limit))]
        return sorted(kept, key=lambda r: (r.at, r.partition, r.offset), reverse=True)[:limit]


async def chosen(settings: Settings, choose: Callable[[RejectedRecord], bool]) -> AsyncIterator[RejectedRecord]:
    """Those of all that are there now that `choose` takes, oldest first within a partition."""
    async with records.opened(settings, settings.topic(Topic.REJECTED_EVENTS)) as log:
        async for record in records.between(log, log.first):
            read = _read(record)
            if choose(read):
                yield read


async def replay(settings: Settings, choose: Callable[[RejectedRecord], bool], *, dry_run: bool = False) -> Replayed:
    """Sends the chosen ones once more; what is set aside meanwhile is not among them."""
    known, feed = _readable(settings), settings.topic(Topic.SESSION_ENDED)
    sent: Counter[str] = Counter()
    unknown = 0
    async with reach.producer(settings) as producer, AsyncExitStack() as stack:
        announced: Log | None = None
        waiting: list[asyncio.Future[Any]] = []
        async for record in chosen(settings, choose):
            if record.topic == feed and announced is None:
                announced = await stack.enter_async_context(records.opened(settings, feed))
            if record.topic not in known and not (announced and await _is_announced(announced, record)):
                unknown += 1
                continue
            sent[record.reason] += 1
            if dry_run:
                continue
            waiting.append(await _send(producer, record))
            if len(waiting) == _AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    return Replayed(sent=sent, unknown_origin=unknown)


async def _send(producer: AIOKafkaProducer, record: RejectedRecord) -> asyncio.Future[Any]:
    there = await producer.partitions_for(record.topic)
    partition = record.topic_partition if record.topic_partition in there else None
    # aiokafka sends no record that has neither; an empty value is read just as none is.
    value = b"" if record.value is None and record.key is None else record.value
    future: asyncio.Future[Any] = await producer.send(
        record.topic, value, key=record.key, partition=partition, headers=record.headers
    )
    return future


async def _is_announced(log: Log, record: RejectedRecord) -> bool:
    """Whether it is a notification of ours, which still lies where its headers say."""
    number, offset = record.topic_partition, record.topic_offset
    if record.topic != log.topic or number is None or offset is None:
        return False
    if not log.first.get(number, 0) <= offset < log.end.get(number, 0):
        return False
    place = TopicPartition(log.topic, number)
    log.consumer.assign([place])
    log.consumer.seek(place, offset)
    found = await log.consumer.getone(place)
    return (found.offset, found.key, found.value) == (offset, record.key, record.value)


def _readable(settings: Settings) -> frozenset[str]:
    ours = {topic.value for topic, spec in TOPICS.items() if spec.direction is Direction.IN}
    return frozenset(settings.topic(name) for name in ours | {source.topic for source in settings.inputs})


def _read(record: ConsumerRecord) -> RejectedRecord:
    said = {name: value or b"" for name, value in record.headers if name in REJECTED_HEADERS}
    reason, _, detail = said.get("revoker-reason", b"").decode("utf-8", "replace").partition(": ")
    return RejectedRecord(
        partition=record.partition,
        offset=record.offset,
        at=records.appended_at(record),
        reason=preview(reason.encode(), 60),
        detail=preview(detail.encode(), 200),
        topic=_text(said.get("revoker-topic")),
        topic_partition=_number(said.get("revoker-partition")),
        topic_offset=_number(said.get("revoker-offset")),
        key=record.key,
        value=record.value,
        headers=[(name, value) for name, value in record.headers if not name.startswith(_OURS)],
    )


def _text(raw: bytes | None) -> str | None:
    with suppress(UnicodeDecodeError):
        return raw.decode() if raw else None
    return None


def _number(raw: bytes | None) -> int | None:
    with suppress(ValueError, TypeError):
        return int(raw) if raw and raw.isdigit() else None
    return None
