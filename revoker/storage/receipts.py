"""One chunk of receipts, taken in by one transaction: who spoke, how far they are, and what they cut and refused.

The rows of the incarnations are locked before anything is counted, and a receipt that is not newer than what is known
of its sender counts nothing. So a receipt that is delivered again, also by a consumer that lost its partition and does
not know yet, changes nothing.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.receipts import Incarnation, Left, Oddity, Receipt, fold, is_newer, oddities
from revoker.storage.columns import fetch, joined
from revoker.storage.positions import Positions, move_positions
from schemas.gateway_receipts import Applied, GatewayMode, GatewayState, Refused
from schemas.inputs import Lane

COLUMNS: Final = """
    g.id, g.gateway, g.instance, g.incarnation, g.kind, g.epoch, g.state, g.mode, g.max_staleness, g.attributes,
    g.position, g.at, g.receipt_offset, g.first_heard_at, g.heard_at, g.left_at, g.left_by, g.left_why, g.went_back"""

_KNOWN: Final = f"""
select {COLUMNS}, clock_timestamp() as now from gateways g where g.id = any ($1::uuid[]) order by g.id for update"""

_NOW: Final = "select clock_timestamp()"

_NEW: Final = """
insert into gateways (id, gateway, instance, incarnation, kind, epoch, state, mode, max_staleness, at, receipt_offset,
    first_heard_at, heard_at)
select n.id, n.gateway, n.instance, n.incarnation, '', '', 'replaying', 'best_effort', 0, 'epoch', -1, $5, $5
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as n(id, gateway, instance, incarnation)
on conflict (id) do nothing"""

_HEARD: Final = """
update gateways g set kind = n.kind, epoch = n.epoch, state = n.state, mode = n.mode, max_staleness = n.max_staleness,
    attributes = coalesce(string_to_array(n.attributes, e'\\x1f'), '{}'), position = n.position::bigint[], at = n.at,
    receipt_offset = n.receipt_offset, heard_at = n.heard_at, left_at = n.left_at, left_by = n.left_by,
    left_why = n.left_why, went_back = n.went_back
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::text[], $8::text[],
    $9::timestamptz[], $10::bigint[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::text[], $15::int[])
    as n(id, kind, epoch, state, mode, max_staleness, attributes, position, at, receipt_offset, heard_at, left_at,
        left_by, left_why, went_back)
where g.id = n.id"""

# Of what nobody decided nothing is kept: a sender that invents ids must not fill the table.
_EFFECTS: Final = """
with n as materialized (
    select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],
        $7::bigint[], $8::bigint[], $9::timestamptz[], $10::text[])
        as n(revocation_id, gateway_id, connections, cached, first_applied_at, last_applied_at, refused,
            refused_verified, last_refused_at, last_ip)
), decided as (
    select n.* from n where exists (select from revocations r where r.id = n.revocation_id)
), kept as (
    insert into gateway_effects as e (revocation_id, gateway_id, heard_at, connections, cached, first_applied_at,
        last_applied_at, refused, refused_verified, last_refused_at, last_ip)
    select d.revocation_id, d.gateway_id, $11, d.connections, d.cached, d.first_applied_at, d.last_applied_at,
        d.refused, d.refused_verified, d.last_refused_at, d.last_ip::inet
    from decided d order by d.revocation_id, d.gateway_id
    on conflict (revocation_id, gateway_id) do update set
        heard_at = excluded.heard_at,
        connections = e.connections + excluded.connections,
        cached = e.cached + excluded.cached,
        first_applied_at = least(e.first_applied_at, excluded.first_applied_at),
        last_applied_at = greatest(e.last_applied_at, excluded.last_applied_at),
        refused = e.refused + excluded.refused,
        refused_verified = e.refused_verified + excluded.refused_verified,
        last_refused_at = greatest(e.last_refused_at, excluded.last_refused_at),
        last_ip = coalesce(excluded.last_ip, e.last_ip)
    returning 1
)
select count(*) from kept"""


@dataclass(slots=True)
class Effect:
    """What one revocation did at one incarnation, by the receipts of one chunk."""

    connections: int = 0
    cached: int = 0
    applied_at: list[datetime] = field(default_factory=list)
    refused: int = 0
    refused_verified: int = 0
    last_refused_at: datetime | None = None
    last_ip: str | None = None


Effects = dict[tuple[uuid.UUID, uuid.UUID], Effect]
"""By revocation and incarnation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of a chunk."""

    applied: int
    older: int
    """Known already, or overtaken."""
    oddities: Counter[Oddity]
    connections: int
    cached: int
    refused: int


async def store(engine: AsyncEngine, receipts: Sequence[Receipt], positions: Callable[[], Positions]) -> Stored:
    """Takes `receipts` in, in one transaction. Doing it again changes nothing.

    `positions` is asked just before the commit for the next offsets below which all is committed.
    """
    odd: Counter[Oddity] = Counter()
    effects: Effects = {}
    older = 0
    async with engine.begin() as connection:
        known, now = await _lock(connection, receipts)
        heard: dict[uuid.UUID, Incarnation] = {}
        for receipt in receipts:
            id_ = receipt.incarnation_id
            before = known.get(id_)
            if not is_newer(receipt, before):
                older += 1
                continue
            odd.update(oddities(before, receipt))
            known[id_] = heard[id_] = fold(before, receipt, now)
            odd[Oddity.UNKNOWN_REVOCATION] += _count(effects, receipt)
        await _update(connection, list(heard.values()))
        if effects:
            kept: int = (await fetch(connection, _EFFECTS, (*_columns(effects), now)))[0][0]
            odd[Oddity.UNKNOWN_REVOCATION] += len(effects) - kept
        await move_positions(connection, Lane.RECEIPTS, positions())
    return Stored(
        applied=len(receipts) - older,
        older=older,
        oddities=odd,
        connections=sum(effect.connections for effect in effects.values()),
        cached=sum(effect.cached for effect in effects.values()),
        refused=sum(effect.refused for effect in effects.values()),
    )


async def _lock(
    connection: AsyncConnection, receipts: Sequence[Receipt]
) -> tuple[dict[uuid.UUID, Incarnation], datetime]:
    """What is known of the senders, theirs alone until the commit; a new one has a row that is older than anything."""
    senders = {receipt.incarnation_id: receipt.data for receipt in receipts}
    found = await fetch(connection, _KNOWN, (sorted(senders),))
    now: datetime = (await fetch(connection, _NOW, ()))[0][0]
    if new := sorted(senders.keys() - {row.id for row in found}):
        data = [senders[id_] for id_ in new]
        names = [d.gateway for d in data], [d.instance for d in data], [d.incarnation for d in data]
        await connection.exec_driver_sql(_NEW, (new, *names, now))
        found = await fetch(connection, _KNOWN, (sorted(senders),))
    return {row.id: incarnation_of(row) for row in found}, now


def incarnation_of(row: Any) -> Incarnation:  # noqa: ANN401 - a row with the columns of `COLUMNS`
    """A stored row as the value that it was."""
    return Incarnation(
        id=row.id,
        gateway=row.gateway,
        instance=row.instance,
        incarnation=row.incarnation,
        kind=row.kind,
        epoch=row.epoch,
        state=GatewayState(row.state),
        mode=GatewayMode(row.mode),
        max_staleness=row.max_staleness,
        attributes=tuple(row.attributes),
        position=None if row.position is None else tuple(row.position),
        at=row.at,
        receipt_offset=row.receipt_offset,
        first_heard_at=row.first_heard_at,
        heard_at=row.heard_at,
        left_at=row.left_at,
        left_by=None if row.left_by is None else Left(row.left_by),
        left_why=row.left_why,
        went_back=row.went_back,
    )


def _count(effects: Effects, receipt: Receipt) -> int:
    """Adds up what `receipt` tells of. Returns how many entries name nothing that could be a revocation."""
    nameless = 0
    entries: list[Applied | Refused] = [*receipt.data.applied, *receipt.data.refused]
    for entry in entries:
        try:
            revocation_id = uuid.UUID(entry.revocation_id)
        except ValueError:
            nameless += 1
            continue
        effect = effects.setdefault((revocation_id, receipt.incarnation_id), Effect())
        match entry:
            case Applied():
                effect.connections += entry.connections_dropped
                effect.cached += entry.cached_sessions_dropped
                effect.applied_at.append(min(entry.applied_at, receipt.appended_at))
            case Refused():
                effect.refused += entry.count
                effect.refused_verified += entry.count if entry.verified else 0
                effect.last_refused_at = receipt.at
                effect.last_ip = entry.last_ip or effect.last_ip
    return nameless


def _columns(effects: Effects) -> list[list[Any]]:
    values = list(effects.values())
    return [
        [revocation_id for revocation_id, _ in effects],
        [gateway_id for _, gateway_id in effects],
        [e.connections for e in values],
        [e.cached for e in values],
        [min(e.applied_at, default=None) for e in values],
        [max(e.applied_at, default=None) for e in values],
        [e.refused for e in values],
        [e.refused_verified for e in values],
        [e.last_refused_at for e in values],
        [e.last_ip for e in values],
    ]


async def _update(connection: AsyncConnection, heard: Sequence[Incarnation]) -> None:
    columns = (
        [who.id for who in heard],
        [who.kind for who in heard],
        [who.epoch for who in heard],
        [who.state.value for who in heard],
        [who.mode.value for who in heard],
        [who.max_staleness for who in heard],
        [joined(who.attributes) for who in heard],
        [None if who.position is None else f"{{{','.join(map(str, who.position))}}}" for who in heard],
        [who.at for who in heard],
        [who.receipt_offset for who in heard],
        [who.heard_at for who in heard],
        [who.left_at for who in heard],
        [who.left_by and who.left_by.value for who in heard],
        [who.left_why for who in heard],
        [who.went_back for who in heard],
    )
    await connection.exec_driver_sql(_HEARD, columns)
