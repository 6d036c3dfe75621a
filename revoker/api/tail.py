"""The one reader of `session-ended` in this process: the newest records in memory, for all streams alike.

    Kafka ──► Tail ──► ring of what came last ──► stream, stream, stream …      (each knows how far it is, no more)

A stream has no queue: it has a number, its place in the ring. So a thousand readers cost what one costs, and one that
does not read falls out of the ring, which is how it is cut. What is older than the ring is read from Kafka again by
whoever needs it (`revoker.api.history`).

The epoch comes with the heartbeats of the revocation consumers; where there were none for an hour it is unknown, which
is an epoch like another. Whatever breaks the order of things (another epoch,
partitions added, a log cut short) ends every stream: the readers come back with their positions, and get what is right.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from revoker.api.notices import Told, event, told
from revoker.api.positions import UNKNOWN_EPOCH, Vector
from revoker.clients import started, stopped
from revoker.kafka import client_options
from revoker.logs import get_logger
from revoker.settings import Settings
from schemas.fields import wire_time
from schemas.topics import Topic

RING_BYTES: Final = 32_000_000
_ENTRY_BYTES: Final = 400
"""What an entry costs beside its body."""
_BACK: Final = 20_000
"""Records that are taken into the ring at the start, so that those who come back need no Kafka reader of their own."""
_BEATS_BACK: Final = 20
_POLL_MS: Final = 200
_BEAT_SECONDS: Final = 1.0
_FRESH_SECONDS: Final = 3.0
_PAUSES: Final = (0.5, 10.0)
_log = get_logger(__name__)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One record in the ring."""

    partition: int
    offset: int
    notice: Told
    shared: bytes
    """The event as everybody gets it who has read all before it."""


class _Beat(msgspec.Struct):
    epoch: str
    partitions: int


class _ChangedError(Exception):
    """Nothing that was read before fits what comes now."""


_beat: Final = msgspec.json.Decoder(_Beat).decode


class Tail:
    """Start `run` as a task; read `ring` and `position` from the same loop."""

    def __init__(
        self, settings: Settings, *, ring_bytes: int = RING_BYTES, now: Callable[[], float] = time.time
    ) -> None:
        self.topic: Final = settings.topic(Topic.SESSION_ENDED)
        self._beats = TopicPartition(settings.topic(Topic.HEARTBEATS), 0)
        self._options = client_options(settings) | {
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "fetch_max_wait_ms": 100,
            "metadata_max_age_ms": 10_000,
        }
        self._ring_bytes = ring_bytes
        self._now = now
        self._news = asyncio.Event()
        self._partitions = 0
        self._clear()

    def _clear(self) -> None:
        self.generation = getattr(self, "generation", -1) + 1
        """Moves when all streams must end."""
        self.position: Vector | None = None
        """What was read; None: nothing can be told yet."""
        self.first: list[int] = []
        """For each partition, from which offset on all is in the ring."""
        self.beat = (0, 0, b"")
        """Number of the last beat, the place in the ring that it speaks of, and the event."""
        self._entries: list[Entry] = []
        self._dropped = 0
        self._bytes = 0
        self._complete_at = 0.0

    @property
    def end(self) -> int:
        """The place behind the last entry."""
        return self._dropped + len(self._entries)

    @property
    def start(self) -> int:
        """The place of the first entry."""
        return self._dropped

    def entries(self, place: int, most: int) -> Sequence[Entry]:
        """Those from `place` on, which must be in the ring."""
        return self._entries[place - self._dropped : place - self._dropped + most]

    def holds(self, cursor: Vector) -> bool:
        """Whether all from `cursor` on is in the ring."""
        return all(mine <= theirs for mine, theirs in zip(self.first, cursor.next, strict=True))

    async def news(self) -> None:
        """Returns when there is something new, or something ended."""
        await self._news.wait()

    async def why_unready(self) -> str | None:
        """Why no stream can be served; None: it can."""
        if self.position is None:
            return "session-ended cannot be read"
        age = self._now() - self._complete_at
        return None if age <= _FRESH_SECONDS * 3 else f"the view is {age:.0f} s old"

    async def run(self) -> None:
        """Until cancelled. What fails is tried again."""
        pause = _PAUSES[0]
        while True:
            client = AIOKafkaConsumer(**self._options)
            try:
                await started(client)
                await self._read(client)
            except _ChangedError:
                pause = _PAUSES[0]
            except (KafkaError, OSError, TimeoutError) as error:
                _log.warning("dependency-unavailable", error=error)
                pause = min(pause * 2, _PAUSES[1])
            finally:
                await stopped(client)
            self._end_all()
            await asyncio.sleep(pause)

    async def _read(self, client: AIOKafkaConsumer) -> None:
        """Raises whenever it is to be started anew."""
        epoch = await self._begin(client)
        beaten = 0.0
        while True:
            fetched = await client.getmany(timeout_ms=_POLL_MS)
            for beat in self._heartbeats(fetched.pop(self._beats, ())):
                if beat.epoch != epoch or beat.partitions > self._partitions:
                    raise _ChangedError
            records = sorted((r for some in fetched.values() for r in some), key=lambda r: r.timestamp)
            for record in records:
                self._take(record)
            if time.monotonic() - beaten >= _BEAT_SECONDS and await self._is_complete(client):
                beaten = time.monotonic()
                self._sound()
                records = records or [None]
            if records:
                self._tell()

    async def _begin(self, client: AIOKafkaConsumer) -> str:
        """Finds epoch and partitions, and seeks a little back."""
        await client._client.set_topics([self.topic, self._beats.topic])  # noqa: SLF001 - no public way
        numbers = sorted(client.partitions_for_topic(self.topic) or ())
        if numbers != list(range(len(numbers))) or not numbers:
            raise TimeoutError(f"the partitions of {self.topic} are not known yet")
        epoch = await self._epoch(client)
        places = [TopicPartition(self.topic, number) for number in numbers]
        begins, ends = await client.beginning_offsets(places), await client.end_offsets(places)
        client.assign([*places, self._beats])
        back = _BACK // len(places)
        self.first = [max(begins[place], ends[place] - back) for place in places]
        for place, offset in zip(places, self.first, strict=True):
            client.seek(place, offset)
        client.seek(self._beats, (await client.end_offsets([self._beats]))[self._beats])
        self._partitions = len(places)
        await self._catch_up(client, ends, Vector(epoch, tuple(self.first)))
        return epoch

    async def _catch_up(self, client: AIOKafkaConsumer, ends: dict[TopicPartition, int], start: Vector) -> None:
        """Only a ring that reaches up to now is shown: before, positions would look ahead of us."""
        position = start
        while [place for place, end in ends.items() if await client.position(place) < end]:
            for record in [r for some in (await client.getmany(*ends, timeout_ms=_POLL_MS)).values() for r in some]:
                position = self._take(record, position)
        last = sorted((place.partition, end) for place, end in ends.items())
        self.position = position.joined(Vector(start.epoch, tuple(end for _, end in last)))
        _log.info("notifications-followed", partitions=self._partitions, records=len(self._entries))

    async def _epoch(self, client: AIOKafkaConsumer) -> str:
        client.assign([self._beats])
        begin = (await client.beginning_offsets([self._beats]))[self._beats]
        end = (await client.end_offsets([self._beats]))[self._beats]
        client.seek(self._beats, max(begin, end - _BEATS_BACK))
        epoch = UNKNOWN_EPOCH
        while await client.position(self._beats) < end:
            for beat in self._heartbeats((await client.getmany(timeout_ms=_POLL_MS)).get(self._beats, ())):
                epoch = beat.epoch
        return epoch

    @staticmethod
    def _heartbeats(records: Sequence[Any]) -> Iterator[_Beat]:
        for record in records:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                yield _beat(record.value or b"")

    def _take(self, record: Any, position: Vector | None = None) -> Vector:  # noqa: ANN401 - aiokafka is untyped
        before = position or self.position
        assert before is not None  # noqa: S101 - set before the first record is taken
        after = before.passed(record.partition, record.offset)
        if position is None:
            self.position = after
        notice = told(record.value)
        if notice is not None:
            entry = Entry(record.partition, record.offset, notice, event("notification", after, notice.body))
            self._entries.append(entry)
            self._bytes += 2 * len(notice.body) + _ENTRY_BYTES
            if self._bytes > self._ring_bytes:
                self._trim()
        return after

    def _trim(self) -> None:
        """Down to three quarters: rarely, and then a lot."""
        count = 0
        while self._bytes > self._ring_bytes * 3 // 4 and count < len(self._entries) - 1:
            gone = self._entries[count]
            self._bytes -= 2 * len(gone.notice.body) + _ENTRY_BYTES
            self.first[gone.partition] = gone.offset + 1
            count += 1
        del self._entries[:count]
        self._dropped += count

    async def _is_complete(self, client: AIOKafkaConsumer) -> bool:
        """Whether nothing is left to read, as of a moment that Kafka itself answered at, and a recent one."""
        moments = []
        for place in client.assignment():
            end, asked = client.highwater(place), client.last_poll_timestamp(place)
            if end is None or asked is None:
                return False
            if place.topic == self.topic and await client.position(place) < end:
                return False
            moments.append(asked / 1000)
        self._complete_at = min(moments)
        return self._now() - self._complete_at <= _FRESH_SECONDS

    def _sound(self) -> None:
        assert self.position is not None  # noqa: S101 - as above
        body = {"epoch": self.position.epoch, "at": _instant(self._complete_at)}
        self.beat = (self.beat[0] + 1, self.end, event("beat", self.position, msgspec.json.encode(body)))

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

    def _end_all(self) -> None:
        self._clear()
        self._tell()


def _instant(seconds: float) -> str:
    return wire_time(datetime.fromtimestamp(seconds, UTC))
