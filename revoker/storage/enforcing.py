"""What "enforced" is computed from, and where it is kept: who is there, how far receipts are read, what is proven.

A proof is named by its content, so that the batches of an ordinary day share one row. The database refuses to change
what is latched.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.enforcement import Announcement, Reading
from revoker.core.receipts import Incarnation, Left
from revoker.storage.columns import fetch
from revoker.storage.receipts import COLUMNS, incarnation_of
from schemas.inputs import Lane

_PROVING_LOCK: Final = 0x7265767072

_PRESENT: Final = f"select {COLUMNS} from gateways g where g.left_at is null"
_LEFT: Final = f"select {COLUMNS} from gateways g where g.left_at > $1 order by g.left_at desc limit $2"
_ALL: Final = f"select {COLUMNS} from gateways g order by g.gateway, g.instance, g.first_heard_at, g.id"

_CANDIDATES: Final = """
select b.id, b.epoch, b.positions, b.announced_at from batches b
where b.announced_at is not null and b.epoch is not null and b.enforced_at is null
    and (b.announced_at, b.id) {beyond} ($1::timestamptz, $2::uuid) and b.announced_at <= $3
order by b.announced_at {order}, b.id {order} limit $4"""
_OLDEST: Final = _CANDIDATES.format(beyond=">", order="asc")
_NEWEST: Final = _CANDIDATES.format(beyond="<", order="desc")

_PROOFS: Final = """
insert into proofs as p (id, participants, used_at)
select n.id, n.participants::jsonb, clock_timestamp() from unnest($1::uuid[], $2::text[]) as n(id, participants)
order by n.id
on conflict (id) do update set used_at = excluded.used_at where p.used_at < excluded.used_at - interval '1 hour'"""
_LATCH: Final = """
update batches b set enforced_at = clock_timestamp(), proof_id = n.proof_id
from unnest($1::uuid[], $2::uuid[]) as n(id, proof_id)
where b.id = n.id and b.enforced_at is null
returning extract(epoch from b.enforced_at - b.announced_at)::float8"""

_LEAVE: Final = """
update gateways g set left_at = clock_timestamp(), left_by = n.by, left_why = n.why
from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[]) as n(id, heard_at, by, why)
where g.id = n.id and g.heard_at = n.heard_at and g.left_at is null
returning g.id"""

_READ: Final = """
insert into receipts_read as r (topic, until, steady_since) values ($1, $2, $2)
on conflict (topic) do update set
    steady_since = case when excluded.until - r.until > $3::interval then excluded.until else r.steady_since end,
    until = excluded.until
where excluded.until > r.until"""
_READING: Final = "select r.until, r.steady_since from receipts_read r where r.topic = $1"

_UNPROVEN: Final = """
select count(*), extract(epoch from clock_timestamp() - min(u.announced_at))::float8 from (
    select b.announced_at from batches b
    where b.announced_at is not null and b.epoch is not null and b.enforced_at is null
    order by b.announced_at limit $1
) as u"""

_EFFECTS: Final = """
select e.gateway_id, e.connections, e.cached, e.first_applied_at, e.last_applied_at, e.refused, e.refused_verified,
    e.last_refused_at, host(e.last_ip) as last_ip
from gateway_effects e where e.revocation_id = $1"""
_TOLD: Final = """
select b.id, b.epoch, b.positions, b.announced_at, b.enforced_at, p.participants
from revocations r join batches b on b.id = r.batch_id left join proofs p on p.id = b.proof_id
where r.id = $1 limit 1"""
_NEWEST_UNPROVEN: Final = """
select b.id, b.epoch, b.positions, b.announced_at from batches b
where b.announced_at is not null and b.epoch is not null and b.enforced_at is null
    and b.announced_at < clock_timestamp() - $1::interval
order by b.announced_at desc, b.id desc limit 1"""
_PROOF_BODIES: Final = "select p.id, p.participants from proofs p where p.id = any ($1::uuid[])"
_FEED: Final = "select f.epoch, f.high from feeds f where f.topic = $1"


class Participant(msgspec.Struct, frozen=True, kw_only=True):
    """One incarnation in a proof, as it was then."""

    id: uuid.UUID
    gateway: str
    instance: str
    incarnation: str
    how: str
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one revocation did at one incarnation, in all."""

    gateway_id: uuid.UUID
    connections: int
    cached: int
    first_applied_at: datetime | None
    last_applied_at: datetime | None
    refused: int
    refused_verified: int
    last_refused_at: datetime | None
    last_ip: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where a revocation was announced, and the proof that it is enforced, where there is one."""

    announcement: Announcement | None
    """None: not announced, or there was nothing to announce."""
    enforced_at: datetime | None
    participants: Sequence[Participant]


async def is_mine(connection: AsyncConnection) -> bool:
    """Whether this process may prove until the end of the transaction: one at a time does, whichever comes first."""
    return bool((await fetch(connection, "select pg_try_advisory_xact_lock($1::bigint)", (_PROVING_LOCK,)))[0][0])


async def clock(connection: AsyncConnection) -> datetime:
    """The database's time."""
    instant: datetime = (await fetch(connection, "select clock_timestamp()", ()))[0][0]
    return instant


async def present(connection: AsyncConnection) -> list[Incarnation]:
    """Everybody who was heard of and has not left."""
    return [incarnation_of(row) for row in await fetch(connection, _PRESENT, ())]


async def left_since(connection: AsyncConnection, instant: datetime, limit: int) -> list[Incarnation]:
    """Who has left since, the latest first."""
    return [incarnation_of(row) for row in await fetch(connection, _LEFT, (instant, limit))]


async def everybody(engine: AsyncEngine) -> list[Incarnation]:
    """All that are still remembered, by name."""
    async with engine.connect() as connection:
        return [incarnation_of(row) for row in await fetch(connection, _ALL, ())]


async def candidates(
    connection: AsyncConnection, beyond: tuple[datetime, uuid.UUID], until: datetime, limit: int, *, newest: bool
) -> list[Announcement]:
    """Announced and not proven: from `beyond` on upwards, or downwards; announced by `until`."""
    rows = await fetch(connection, _NEWEST if newest else _OLDEST, (*beyond, until, limit))
    return [_announcement(row) for row in rows]


def _announcement(row: Any) -> Announcement:  # noqa: ANN401 - a row with these columns
    positions = {int(partition): offset for partition, offset in _tree(row.positions).items()}
    return Announcement(id=row.id, epoch=str(row.epoch), positions=positions, announced_at=row.announced_at)


def _tree(value: Any) -> Any:  # noqa: ANN401 - text or tree, as the driver has it
    return msgspec.json.decode(value) if isinstance(value, str) else value


async def latch(
    connection: AsyncConnection, proven: Mapping[uuid.UUID, uuid.UUID], proofs: Mapping[uuid.UUID, bytes]
) -> list[float]:
    """Stores which batches are enforced, each with its proof. Returns how many seconds each took since announced."""
    await connection.exec_driver_sql(_PROOFS, (list(proofs), [body.decode() for body in proofs.values()]))
    ordered = sorted(proven.items())
    rows = await fetch(connection, _LATCH, ([id_ for id_, _ in ordered], [proof for _, proof in ordered]))
    return [row[0] for row in rows]


async def leave(connection: AsyncConnection, who: Sequence[tuple[Incarnation, Left, str]]) -> set[uuid.UUID]:
    """Waits for these no more, unless they were heard meanwhile. Returns those of whom that is so."""
    rows = await fetch(
        connection,
        _LEAVE,
        (
            [one.id for one, _, _ in who],
            [one.heard_at for one, _, _ in who],
            [by.value for _, by, _ in who],
            [why for _, _, why in who],
        ),
    )
    return {row[0] for row in rows}


async def note_read(connection: AsyncConnection, topic: str, until: datetime, gap: timedelta) -> None:
    """All receipts that Kafka took before `until` are stored. A pause longer than `gap` before it is remembered."""
    await connection.exec_driver_sql(_READ, (topic, until, gap))


async def stored_below(connection: AsyncConnection, topic: str) -> dict[int, int]:
    """For each partition of `topic`: all receipts below are stored."""
    statement = "select partition, next_offset from lane_positions where lane = $1 and topic = $2"
    return {row[0]: row[1] for row in await fetch(connection, statement, (Lane.RECEIPTS.value, topic))}


async def reading(connection: AsyncConnection, topic: str) -> Reading | None:
    """How far receipts are read; None: never yet."""
    rows = await fetch(connection, _READING, (topic,))
    return Reading(until=rows[0][0], steady_since=rows[0][1]) if rows else None


async def newest_unproven(connection: AsyncConnection, older_than: timedelta) -> Announcement | None:
    """The newest batch that was announced that long ago and is not proven."""
    rows = await fetch(connection, _NEWEST_UNPROVEN, (older_than,))
    return _announcement(rows[0]) if rows else None


async def unproven(connection: AsyncConnection, limit: int) -> tuple[int, float]:
    """How many announced batches are not proven, at most `limit`, and how many seconds the oldest is old."""
    count, seconds = (await fetch(connection, _UNPROVEN, (limit,)))[0]
    return count, seconds or 0.0


async def effects_of(engine: AsyncEngine, revocation_id: uuid.UUID) -> dict[uuid.UUID, Effect]:
    """What the revocation did, by incarnation."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _EFFECTS, (revocation_id,))
        return {row.gateway_id: Effect(**row._asdict()) for row in rows}


async def told_of(engine: AsyncEngine, revocation_id: uuid.UUID) -> Told | None:
    """Where and whether the revocation was announced and proven; None: there is none, or its batch is forgotten."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _TOLD, (revocation_id,))
    if not rows:
        return None
    row = rows[0]
    announced = row.announced_at is not None and row.epoch is not None and _tree(row.positions)
    return Told(
        announcement=_announcement(row) if announced else None,
        enforced_at=row.enforced_at,
        participants=_participants(row.participants),
    )


async def proofs(engine: AsyncEngine, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Sequence[Participant]]:
    """Who was there, by proof."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _PROOF_BODIES, (sorted(ids),))
        return {row.id: _participants(row.participants) for row in rows}


def _participants(value: Any) -> Sequence[Participant]:  # noqa: ANN401 - text or tree
    return msgspec.convert(_tree(value) or [], list[Participant], strict=False)


async def feed(engine: AsyncEngine, topic: str) -> tuple[str, dict[int, int]] | None:
    """The epoch of `session-ended` and where its partitions ended when somebody looked, seconds ago."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _FEED, (topic,))
    if not rows:
        return None
    return str(rows[0][0]), {int(partition): end for partition, end in _tree(rows[0][1]).items()}
