"""One reader of `GET /v1/notifications`: from its cursor, or from a snapshot, to now, and then along.

    started             data: epoch, and whether this is a snapshot; its id is where the stream begins
    notification        data: a CloudEvent of session-ended, as on Kafka
    snapshot-complete   everything up to the moment of the request was sent
    beat                once a second; data: epoch, and the moment up to which everything was sent

Each id says how far the reader is when it has read that event, so any of them resumes. Delivery is at least once. A
cursor of another epoch, from before the retention or from nowhere gets a snapshot. There are no beats before the
snapshot is complete, and none while Kafka is away: the reader's view then grows old by itself, as it should.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final

import msgspec

from revoker.api.history import History, Reading
from revoker.api.notices import event, seen_by
from revoker.api.positions import Vector
from revoker.api.tail import Entry, Tail

_AT_ONCE: Final = 500
_CHUNK_BYTES: Final = 64_000
_AHEAD_SECONDS: Final = 5.0


class CutError(Exception):
    """The stream must end here: the reader comes back with the position that it has."""


class Stream:
    """For a reader of `tenant`, None for one of all tenants. Iterate over `chunks`."""

    def __init__(
        self, tail: Tail, history: History, cursor: str | None, *, tenant: str | None, lifetime: float | None
    ) -> None:
        self._tail = tail
        self._history = history
        self._given = Vector.parse(cursor) if cursor else None
        self._tenant = tenant
        self._lifetime = lifetime
        self._generation = tail.generation

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What is sent, piece by piece. Ends by `CutError`, or as Kafka fails."""
        cursor = await self._known()
        async with AsyncExitStack() as stack:
            if cursor is None or not self._tail.holds(cursor):
                reading = await stack.enter_async_context(self._history.opened())
                fresh = cursor is None or not await reading.reaches(cursor)
                if cursor is None or fresh:
                    cursor = await reading.beginning(self._position(), self._lifetime)
                yield self._started(cursor, snapshot=fresh)
                while not self._tail.holds(cursor):
                    target = self._position()
                    async for chunk in self._past(reading, cursor, target):
                        yield chunk
                    cursor = target
            else:
                yield self._started(cursor, snapshot=False)
        place, end, target = self._tail.start, self._tail.end, self._position()
        while place < end:
            entries = self._entries(place, end - place)
            place += len(entries)
            chunk, cursor = self._beyond(entries, cursor)
            yield chunk
        yield event("snapshot-complete", target.joined(cursor), msgspec.json.encode({"epoch": target.epoch}))
        async for chunk in self._along(place):
            yield chunk

    async def _along(self, place: int) -> AsyncGenerator[bytes, None]:
        """What comes from now on. Everybody is sent the same bytes."""
        beaten = self._tail.beat[0]
        while True:
            entries = self._entries(place, _AT_ONCE)
            place += len(entries)
            chunk = b"".join([self._rendered(entry) for entry in entries])
            number, at, beat = self._tail.beat
            if number > beaten and at <= place:
                chunk, beaten = chunk + beat, number
            if chunk:
                yield chunk
            elif not entries:
                await self._tail.news()

    async def _past(self, reading: Reading, start: Vector, end: Vector) -> AsyncGenerator[bytes, None]:
        chunk, held = bytearray(), 0
        async for position, notice in reading.between(start, end):
            body = seen_by(notice, self._tenant) if notice is not None else None
            if body is not None:
                chunk += event("notification", position, body)
            held += 1
            if len(chunk) >= _CHUNK_BYTES or held >= _AT_ONCE:
                yield bytes(chunk) or b": reading\n\n"
                chunk, held = bytearray(), 0
        yield bytes(chunk)

    def _entries(self, place: int, most: int) -> Sequence[Entry]:
        if self._tail.generation != self._generation:
            raise CutError("the topic changed, or cannot be read")
        if place < self._tail.start:
            raise CutError("the reader is too slow")
        return self._tail.entries(place, min(most, _AT_ONCE))

    def _beyond(self, entries: Sequence[Entry], cursor: Vector) -> tuple[bytes, Vector]:
        """What the reader does not have yet, under positions that never go back."""
        chunk = bytearray()
        for entry in entries:
            if entry.offset >= cursor.next[entry.partition]:
                cursor = cursor.passed(entry.partition, entry.offset)
                body = seen_by(entry.notice, self._tenant)
                if body is not None:
                    chunk += event("notification", cursor, body)
        return bytes(chunk), cursor

    def _rendered(self, entry: Entry) -> bytes:
        body = seen_by(entry.notice, self._tenant)
        if body is entry.notice.body:
            return entry.shared
        return b"%bdata: %b\n\n" % (entry.shared.partition(b"data: ")[0], body) if body is not None else b""

    def _started(self, cursor: Vector, *, snapshot: bool) -> bytes:
        body = msgspec.json.encode({"epoch": cursor.epoch, "snapshot": snapshot})
        return b"retry: 1000\n" + event("started", cursor, body)

    async def _known(self) -> Vector | None:
        """The reader's own cursor, if it is one of this stream's."""
        position, given = self._position(), self._given
        if given is None or given.epoch != position.epoch or len(given.next) > len(position.next):
            return None
        given = given.grown(len(position.next))
        with suppress(TimeoutError):
            # Another process of the service may have been a little ahead of this one.
            async with asyncio.timeout(_AHEAD_SECONDS):
                while given.joined(position) != position:
                    await self._tail.news()
                    position = self._position()
        return given if given.joined(position) == position else None

    def _position(self) -> Vector:
        if self._tail.position is None or self._tail.generation != self._generation:
            raise CutError("the topic changed, or cannot be read")
        return self._tail.position
