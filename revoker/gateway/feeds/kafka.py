"""The feed of `session-ended` itself: every partition, no consumer group, from the lifetime of a credential on.

- It begins at the append time `now - credential_lifetime`, where `now` is the older of our clock and the newest
  heartbeat's append time: a clock that is ahead must not skip revocations. Where nothing says so, at the beginning.
- An epoch is one life of the topic; heartbeats carry it. Another epoch: everything is read again under it.
- A partition whose log does not hold our place any more (it was cut, or created anew) is read from its beginning, and
  the view is not whole until that is done.
- Partitions that were added are read from their beginning. While heartbeats count more than we read, the view ages.
- Brokers that are away make the view old, nothing else. The client comes back by itself; where it does not, it is
  built anew and goes on where it was.

What aiokafka stamps and counts with each answer moves on idle partitions, too; so no record is needed to stay fresh.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, RecordTooLargeError

from revoker.clients import started, stopped
from revoker.gateway.clock import elapsed
from revoker.gateway.errors import FeedError
from revoker.gateway.feeds import Sink
from revoker.gateway.feeds.freshness import Freshness
from schemas.topics import Topic

_log: Final = logging.getLogger("revoker.gateway")

_AT_ONCE: Final = 500
"""Unpacking keeps the application's other tasks waiting."""
_SILENT_SECONDS: Final = 10.0
_TOPIC_SECONDS: Final = 0.5
_NEWEST_BEAT_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 5.0


class _Beat(msgspec.Struct):
    """What we need of a heartbeat (schemas.session_ended.Heartbeat)."""

    epoch: str
    partitions: int


_beat = msgspec.json.Decoder(_Beat).decode


def fetch_wait_ms(max_staleness: float) -> int:
    """How long a broker may wait before it answers that there is nothing new: a small part of the staleness allowed."""
    return int(min(500.0, max(50.0, max_staleness * 50)))


@dataclass(slots=True)
class _Known:
    """What outlives a client."""

    topic: str
    beats: TopicPartition
    lifetime: float
    wait_ms: int
    epoch: str | None = None
    left: set[str] = field(default_factory=set)
    following: dict[int, int] = field(default_factory=dict)
    """Of each partition that is read: the offset that comes next."""
    counted: int = 0
    """How many partitions the newest heartbeat counts."""
    beat_at: float | None = None
    """When the brokers took it."""


class KafkaFeed:
    """Reads on where it was, whenever it is run again."""

    def __init__(
        self, options: Mapping[str, Any], *, topic_prefix: str, credential_lifetime: float, max_staleness: float
    ) -> None:
        self._known = _Known(
            topic=topic_prefix + Topic.SESSION_ENDED,
            beats=TopicPartition(topic_prefix + Topic.HEARTBEATS, 0),
            lifetime=credential_lifetime,
            wait_ms=fetch_wait_ms(max_staleness),
        )
        self._options = {
            "fetch_max_wait_ms": self._known.wait_ms,
            # Added partitions are seen so soon, whoever has added them.
            "metadata_max_age_ms": 5_000,
            "request_timeout_ms": 10_000,
            **options,
            "group_id": None,
            "enable_auto_commit": False,
            # An offset that is not there must be heard of, not papered over.
            "auto_offset_reset": "none",
        }

    async def run(self, sink: Sink) -> None:
        consumer = AIOKafkaConsumer(**self._options)
        try:
            await started(consumer)
            await _Reading(self._known, consumer, sink).follow()
        except (KafkaError, OSError, TimeoutError) as error:
            raise FeedError(f"Kafka cannot be read: {type(error).__name__}") from error
        finally:
            await stopped(consumer)


class _Reading:
    """One run: one client."""

    def __init__(self, known: _Known, consumer: AIOKafkaConsumer, sink: Sink) -> None:
        self._known = known
        self._consumer = consumer
        self._sink = sink
        self._fresh = Freshness()
        self._hears = False

    async def follow(self) -> None:
        await self._wait_for_topic()
        await self._newest_beat()
        await self._assign()
        while True:
            await self._poll()
            await self._look()

    async def _wait_for_topic(self) -> None:
        known = self._known
        # Metadata by name, not by subscription: asking for a topic is what makes the client learn of it.
        client = self._consumer._client  # noqa: SLF001 - aiokafka offers no public way
        await client.set_topics([known.topic, known.beats.topic])
        while not self._consumer.partitions_for_topic(known.topic):
            self._sink.trouble(f"there is no topic {known.topic} that we may read, yet")
            await asyncio.sleep(_TOPIC_SECONDS)
            await client.force_metadata_update()

    async def _newest_beat(self) -> None:
        """Learns the epoch, and what o'clock it is, before anything is read under them."""
        known, consumer = self._known, self._consumer
        if not consumer.partitions_for_topic(known.beats.topic):
            return
        begin = (await consumer.beginning_offsets([known.beats]))[known.beats]
        end = (await consumer.end_offsets([known.beats]))[known.beats]
        if end <= begin:
            return
        consumer.assign([known.beats])
        consumer.seek(known.beats, end - 1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NEWEST_BEAT_SECONDS):
                await self._hear([await consumer.getone(known.beats)])

    async def _assign(self) -> None:
        """Reads all partitions that there are: those that we know from where we were."""
        known, consumer = self._known, self._consumer
        places = sorted(consumer.partitions_for_topic(known.topic) or ())
        self._hears = bool(consumer.partitions_for_topic(known.beats.topic))
        starts = await self._starts([place for place in places if place not in known.following])
        beats_at = (await consumer.end_offsets([known.beats]))[known.beats] if self._hears else 0

        # No await from here on: the client would look for a committed offset of a partition without a place.
        for place in known.following.keys() - set(places):
            del known.following[place]
        known.following |= starts
        consumer.assign([TopicPartition(known.topic, place) for place in places] + [known.beats] * self._hears)
        for place, offset in known.following.items():
            consumer.seek(TopicPartition(known.topic, place), offset)
        if self._hears:
            consumer.seek(known.beats, max(0, beats_at - 1))
        for place, offset in starts.items():
            self._sink.begin(place, offset)
        self._fresh = Freshness()

    async def _starts(self, places: Sequence[int]) -> dict[int, int]:
        known, consumer = self._known, self._consumer
        partitions = [TopicPartition(known.topic, place) for place in places]
        if not partitions:
            return {}
        begins = await consumer.beginning_offsets(partitions)
        starts = {partition: begins[partition] for partition in partitions}
        if known.beat_at is not None:
            since = int((min(known.beat_at, time.time()) - known.lifetime) * 1000)
            for partition, found in (await consumer.offsets_for_times(dict.fromkeys(partitions, since))).items():
                if found is not None:
                    starts[partition] = found.offset
        ends = await consumer.end_offsets(partitions)
        self._sink.expect(sum(ends[partition] - offset for partition, offset in starts.items()))
        return {partition.partition: offset for partition, offset in starts.items()}

    async def _poll(self) -> None:
        known, consumer = self._known, self._consumer
        try:
            batches = await consumer.getmany(timeout_ms=known.wait_ms // 2, max_records=_AT_ONCE)
        except OffsetOutOfRangeError as error:
            for partition in error.args[0]:
                await self._begin_again(partition)
            return
        except RecordTooLargeError as error:
            # aiokafka has passed over it: no broker of today lets it come to this.
            _log.error("feed-record-too-large: %s", error)
            return
        beats = batches.pop(known.beats, ())
        for partition, records in batches.items():
            place = partition.partition
            following = await consumer.position(partition)
            await self._sink.records(place, [(record.offset, record.value) for record in records], following)
            known.following[place] = following
        # Last: another epoch moves everything.
        await self._hear(beats)

    async def _look(self) -> None:
        """Whether all is read, as of when, and whether there is more to read than we know."""
        known, consumer = self._known, self._consumer
        places = consumer.partitions_for_topic(known.topic) or set()
        hears = bool(consumer.partitions_for_topic(known.beats.topic))
        if places and (places != known.following.keys() or hears != self._hears):
            await self._assign()
            return
        sampled = []
        for place, following in known.following.items():
            partition = TopicPartition(known.topic, place)
            sampled.append((place, consumer.last_poll_timestamp(partition), consumer.highwater(partition), following))
        self._fresh.sample(sampled)
        if elapsed() - self._fresh.answered > _SILENT_SECONDS:
            raise FeedError(f"Kafka has not answered for {_SILENT_SECONDS:.0f} s")
        as_of = self._fresh.as_of(known.following)
        if known.counted > len(known.following):
            self._sink.trouble(f"{known.counted - len(known.following)} partitions were added that are not read yet")
            consumer._client.force_metadata_update()  # noqa: SLF001 - aiokafka offers no public way
        elif not places:
            self._sink.trouble(f"the topic {known.topic} is gone")
        elif as_of is not None:
            self._sink.current(as_of)

    async def _begin_again(self, partition: TopicPartition) -> None:
        known, consumer = self._known, self._consumer
        if partition == known.beats:
            consumer.seek(partition, (await consumer.end_offsets([partition]))[partition])
            return
        was = known.following.get(partition.partition)
        begin = (await consumer.beginning_offsets([partition]))[partition]
        _log.error("feed-truncated: partition %d has no offset %s; reading from %d", partition.partition, was, begin)
        self._sink.lost(f"partition {partition.partition} was cut; it is read from its beginning")
        known.following[partition.partition] = begin
        consumer.seek(partition, begin)
        self._sink.begin(partition.partition, begin)
        self._fresh = Freshness()

    async def _hear(self, records: Sequence[ConsumerRecord]) -> None:
        known = self._known
        for record in records:
            try:
                beat = _beat(record.value or b"")
            except msgspec.DecodeError:
                _log.warning("feed-heartbeat-unreadable: offset %d", record.offset)
                continue
            known.beat_at = record.timestamp / 1000
            self._sink.heard(known.beat_at)
            if beat.epoch in known.left:
                continue
            known.counted = beat.partitions
            if beat.epoch != known.epoch:
                await self._enter(beat.epoch)

    async def _enter(self, epoch: str) -> None:
        """Another life of the topic: what was read before is kept, and none of its offsets mean anything."""
        known = self._known
        if known.epoch is not None:
            known.left.add(known.epoch)
            _log.error("feed-recreated: epoch %s; reading everything again", epoch)
        known.epoch = epoch
        again = bool(known.following)
        known.following.clear()
        self._sink.epoch(epoch)
        if again:
            await self._assign()
