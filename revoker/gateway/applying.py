"""From a record to what it does: index first, then whoever is open, then what is cached; last, the position moves.

The index is changed in the order of the records and without a wait, so that a check that comes after sees it. What a
record cuts runs beside: a client that does not let itself be closed delays no other record, only the claim of having
passed its own (revoker.gateway.positions).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from revoker.core.claims import SessionClaims
from revoker.core.index import Hit, Index, IndexFull
from revoker.core.verdicts import Hold, Revocation
from revoker.core.wire import Notice, NoticeError, SessionEndedNotice, decode_notice
from revoker.gateway.callbacks import Callbacks, public
from revoker.gateway.clock import ServiceClock
from revoker.gateway.dropping import Dropped
from revoker.gateway.health import Progress, View
from revoker.gateway.ledger import Ledger
from revoker.gateway.positions import Positions

_log: Final = logging.getLogger("revoker.gateway")

_AT_ONCE: Final = 32
"""So many records are applied before the application's other tasks get their turn."""
_MOST_DROPS: Final = 5_000
_AGAIN_SECONDS: Final = 1.0

VerdictOf = Callable[[SessionClaims], Revocation | Hold | None]


class Droppable(Protocol):
    """What a record is held against: `Connections`."""

    def __len__(self) -> int: ...

    async def drop(self, hit: Hit, verdict_of: VerdictOf) -> Dropped: ...


class Applier:
    """The sink of a feed (revoker.gateway.feeds.Sink)."""

    def __init__(
        self,
        *,
        index: Index,
        view: View,
        clock: ServiceClock,
        positions: Positions,
        ledger: Ledger,
        connections: Droppable,
        callbacks: Callbacks,
    ) -> None:
        self._index = index
        self._view = view
        self._clock = clock
        self._positions = positions
        self._ledger = ledger
        self._connections = connections
        self._callbacks = callbacks
        self._drops: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self.applied = 0
        self.total: int | None = None
        self.skipped = 0

    def epoch(self, name: str) -> None:
        self._positions.restart(name)
        self._view.lost("the feed began a new epoch; it is read again")
        self._ledger.touch()

    def begin(self, place: int, offset: int) -> None:
        self._positions.begin(place, offset)

    async def records(self, place: int, records: Sequence[tuple[int, bytes | None]], following: int) -> None:
        for number, (offset, value) in enumerate(records, 1):
            try:
                self._take(value, {place: offset})
            except IndexFull:
                self._positions.advance(place, offset)
                await self._make_room(value, {place: offset})
            if number % _AT_ONCE == 0:
                self._positions.advance(place, offset + 1)
                await asyncio.sleep(0)
        self._positions.advance(place, following)
        await self._applied()

    async def record(self, value: bytes, floors: Mapping[int, int], following: Mapping[int, int]) -> None:
        try:
            self._take(value, floors)
        except IndexFull:
            await self._make_room(value, floors)
        for place, offset in following.items():
            self._positions.advance(place, offset)
        await self._applied()

    def current(self, as_of: float) -> None:
        was = self._view.synced
        self._view.current(as_of)
        if not was:
            _log.info("gateway-synced: %d records applied, position %s", self.applied, self._positions)
            self._ledger.touch()

    def lost(self, why: str) -> None:
        self._view.lost(why)
        self._ledger.touch()

    def trouble(self, why: str) -> None:
        if self._view.error != why:
            _log.warning("feed-trouble: %s", why)
        self._view.error = why

    def heard(self, at: float) -> None:
        self._clock.hear(at)

    def expect(self, total: int) -> None:
        self.applied, self.total = 0, total

    def progress(self) -> Progress:
        return Progress(applied=self.applied, total=self.total)

    def forget(self, limit: int) -> int:
        """Drops from the index what nobody can present any more; how many. Only by the service's own clock."""
        if not self._clock.heard:
            return 0
        gone = self._index.forget(self._clock.late(), limit)
        if gone:
            self._room.set()
        return gone

    async def finished(self) -> None:
        """Waits until every drop that runs now has come to its end."""
        if self._drops:
            await asyncio.wait(set(self._drops))

    async def _applied(self) -> None:
        self._ledger.touch()
        while len(self._drops) > _MOST_DROPS:
            await asyncio.wait(self._drops, return_when=asyncio.FIRST_COMPLETED)

    def _take(self, value: bytes | None, floors: Mapping[int, int]) -> None:
        self.applied += 1
        try:
            notice = decode_notice(value or b"")
        except NoticeError as error:
            self._skip(floors, error)
            return
        if notice is None:
            return
        try:
            hit = self._index.apply(notice)
        except IndexFull:
            raise
        except Exception as error:  # noqa: BLE001 - our bug; what comes behind it must not wait for a new version
            _log.exception("feed-record-failed")
            self._skip(floors, error)
            return
        if hit is not None and (len(self._connections) or self._callbacks):
            token = self._positions.hold(floors)
            drop = asyncio.get_running_loop().create_task(self._drop(notice, hit, token))
            self._drops.add(drop)
            drop.add_done_callback(self._drops.discard)

    def _skip(self, floors: Mapping[int, int], error: Exception) -> None:
        self.skipped += 1
        # Powers of two: loud, and not once a record where somebody writes nothing else.
        if self.skipped & (self.skipped - 1) == 0:
            _log.error("feed-record-skipped: %r, at %s; %d so far", error, dict(floors), self.skipped)

    async def _make_room(self, value: bytes | None, floors: Mapping[int, int]) -> None:
        """Waits for the index to forget. Nothing is evicted, and nothing behind the record is applied before it."""
        self._view.fill(full=True)
        self._view.error = "the index is full: raise max_bytes"
        _log.error("index-full: %d bytes; a strict gateway refuses everybody now", self._index.size_bytes)
        self._ledger.touch()
        while True:
            self._room.clear()
            await self._room.wait()
            try:
                self._take(value, floors)
            except IndexFull:
                continue
            break
        self._view.fill(full=False)

    async def _drop(self, notice: Notice, hit: Hit, token: int) -> None:
        dropped, cached = await asyncio.gather(self._cut(hit), self._tell(notice))
        if dropped or cached:
            name = notice.revocation_id if isinstance(notice, SessionEndedNotice) else notice.hold_id
            self._ledger.applied(name, self._clock.now(), dropped, cached)
        self._positions.release(token)
        self._ledger.touch()

    async def _cut(self, hit: Hit) -> int:
        """Never gives up: a position that passed a socket still open would be a lie."""
        while True:
            try:
                return (await self._connections.drop(hit, self._verdict_of)).count
            except Exception:  # noqa: BLE001 - whatever it is, the socket is still open
                _log.exception("drop-failed: it is tried again")
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _tell(self, notice: Notice) -> int:
        if isinstance(notice, SessionEndedNotice) and self._callbacks:
            return await self._callbacks.tell(public(notice))
        return 0

    def _verdict_of(self, claims: SessionClaims) -> Revocation | Hold | None:
        return self._index.find(claims, self._clock.late())
