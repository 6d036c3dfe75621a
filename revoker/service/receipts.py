"""Proving: once receipts were taken in, which announcements are enforced now, and who is not waited for any more.

One turn looks at a bounded number of announcements: the newest, and a page of all that is unproven, so that what cannot
be proven (nobody listened, or an epoch is gone) never hides what can. Turns may fail and may run in several processes.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core import enforcement
from revoker.core.enforcement import LATE_AFTER, Announcement, Condition, Judgement, Proof, Reading, Rules, State
from revoker.core.ids import derive
from revoker.core.receipts import Incarnation, Left
from revoker.settings import Settings
from revoker.storage import enforcing
from revoker.storage.enforcing import Participant
from schemas.topics import Topic

PAGE: Final = 500
_LEFT_LIMIT: Final = 2_000
_UNPROVEN_LIMIT: Final = 10_000
_FIRST_ID: Final = uuid.UUID(int=0)
_LAST_ID: Final = uuid.UUID(int=2**128 - 1)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Ends(Protocol):
    """Where topics begin and end now, by Kafka."""

    async def receipts(self) -> Mapping[int, tuple[int, int]]:
        """For each partition of `gateway-receipts`: its first offset, and the next to be written."""
        ...

    async def feed(self) -> Mapping[int, int]:
        """For each partition of `session-ended`: the next offset to be written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn found and did."""

    seconds: Sequence[float] = ()
    """For each batch that is now enforced: since it was announced."""
    left: Sequence[tuple[Incarnation, Left, str]] = ()
    conditions: Counter[Condition] = field(default_factory=Counter)
    """Of those who are waited for."""
    unproven: int = 0
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Probe:
    at: datetime
    ends: Mapping[int, tuple[int, int]]


def rules_of(settings: Settings) -> Rules:
    """`[gateways]` as the rule takes it. Origins of ours are there, though none may have been heard of yet."""
    given = settings.gateways
    return Rules(
        required=tuple(dict.fromkeys((*given.required, *(origin.name for origin in settings.origins)))),
        close_grace=given.close_grace,
        drift=given.drift,
        silent_after=given.silent_after,
        retire_after=given.retire_after,
    )


class Prover:
    """Turn by turn. Holds no more than where it has come to in the unproven."""

    def __init__(self, engine: AsyncEngine, ends: Ends, settings: Settings) -> None:
        self._engine = engine
        self._ends = ends
        self._rules = rules_of(settings)
        self._topic = settings.topic(Topic.GATEWAY_RECEIPTS)
        self._probe: _Probe | None = None
        self._cursor: tuple[datetime, uuid.UUID] | None = None

    async def turn(self) -> Turn | None:
        """One turn; None while another process takes it. Raises what the database and Kafka's client raise."""
        async with self._engine.begin() as connection:
            if not await enforcing.is_mine(connection):
                self._probe = None
                return None
            await self._read_on(connection)
            reading = await enforcing.reading(connection, self._topic)
            return Turn() if reading is None else await self._prove(connection, reading)

    async def _read_on(self, connection: AsyncConnection) -> None:
        """Moves the moment until which all receipts are stored.

        Asked in this order: what time it is, where the topic ends, how far it is stored. What was there at that time is
        below that end, so once all below it is stored, so is all from before that time: one clock, whoever reads which
        partition, and however long nobody wrote.
        """
        if self._probe is None:
            before = await enforcing.stored_below(connection, self._topic)
            at = await enforcing.clock(connection)
            ends = await self._ends.receipts()
            if any(before.get(number, 0) > end for number, (_, end) in ends.items()):
                # The topic was created anew, what is stored speaks of the old one: `consumers.assignment` sees to it.
                return
            self._probe = _Probe(at, ends)
        stored = await enforcing.stored_below(connection, self._topic)
        if any(max(stored.get(number, 0), first) < end for number, (first, end) in self._probe.ends.items()):
            return
        await enforcing.note_read(connection, self._topic, self._probe.at, self._rules.silent_after)
        self._probe = None

    async def _prove(self, connection: AsyncConnection, reading: Reading) -> Turn:
        here = await enforcing.present(connection)
        gone = list(enforcement.leaving(here, reading, self._rules))
        if gone:
            left = await enforcing.leave(connection, gone)
            gone = [one for one in gone if one[0].id in left]
            here = [who for who in here if who.id not in left]
        # After `here` was read: nobody can have applied by then what was not there yet.
        ends = await self._ends.feed() if here else {}
        told = await self._candidates(connection, reading.until)
        since = min((one.announced_at for one in told), default=reading.until)
        had_left = await enforcing.left_since(connection, since, _LEFT_LIMIT) if told else []
        waiting = next((one for one in told if one.announced_at <= reading.until - LATE_AFTER), None)
        seconds = await self._latch(connection, told, [*here, *had_left], reading, ends)
        unproven, oldest = await enforcing.unproven(connection, _UNPROVEN_LIMIT)
        return Turn(
            seconds=seconds,
            left=gone,
            conditions=Counter(enforcement.condition(who, reading.until, self._rules, waiting) for who in here),
            unproven=unproven,
            oldest_seconds=oldest,
        )

    async def _candidates(self, connection: AsyncConnection, until: datetime) -> list[Announcement]:
        newest = await enforcing.candidates(connection, (until, _LAST_ID), until, PAGE, newest=True)
        if len(newest) < PAGE:
            self._cursor = None
            return newest
        beyond = self._cursor or (datetime.fromtimestamp(0, UTC), _FIRST_ID)
        page = await enforcing.candidates(connection, beyond, until, PAGE, newest=False)
        self._cursor = (page[-1].announced_at, page[-1].id) if len(page) == PAGE else None
        return list({one.id: one for one in [*newest, *page]}.values())

    async def _latch(
        self,
        connection: AsyncConnection,
        told: Iterable[Announcement],
        everybody: Sequence[Incarnation],
        reading: Reading,
        ends: Mapping[int, int],
    ) -> Sequence[float]:
        floors: dict[str, Any] = {}
        proven: dict[uuid.UUID, uuid.UUID] = {}
        proofs: dict[uuid.UUID, bytes] = {}
        for one in told:
            if one.epoch not in floors:
                floors[one.epoch] = enforcement.floor(everybody, reading.until, self._rules, one.epoch)
            if not enforcement.is_below(one, floors[one.epoch]):
                continue
            judged = enforcement.judge(one, everybody, reading, self._rules, ends)
            if judged.state is State.ENFORCED:
                body = _evidence(judged)
                proven[one.id] = derive(["proof", body.decode()])
                proofs[proven[one.id]] = body
        return await enforcing.latch(connection, proven, proofs) if proven else ()


def _evidence(judged: Judgement) -> bytes:
    return _encode(
        sorted(
            (
                Participant(
                    id=standing.who.id,
                    gateway=standing.who.gateway,
                    instance=standing.who.instance,
                    incarnation=standing.who.incarnation,
                    how=standing.how.value,
                    attributes=standing.who.attributes if standing.how is Proof.PAST else (),
                )
                for standing in judged.standings
            ),
            key=lambda participant: participant.id,
        )
    )
