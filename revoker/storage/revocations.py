"""One chunk of decided revocations, applied in one transaction.

    resolve   whose session is it, where an event could not say
    lock      the subjects, in one order, in a statement of its own, before anything is read
    end       the live sessions that they cover, and their tokens
    record    the revocations with what they ended, the batch, the positions; commit

Almost every event is new, so all are taken for new first; one that is stored already fails the primary key, the
transaction is undone, and the second try splits what is stored (the stored row counts, whatever today's policy says)
from what is new. Nothing here is undone by doing it again: a redelivered event is found by its derived id and ends
nothing.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from asyncpg import UniqueViolationError
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.ids import WIDE_LOCK, lock_key
from revoker.core.policy import Decision
from revoker.core.revocation import Revocation
from revoker.storage.columns import driver, fetch, joined, jsonb, listed, texts
from revoker.storage.ending import Applied, end, home
from revoker.storage.positions import Positions, move_positions

__all__ = ["Applied", "Outcome", "apply", "conflicting"]

_LOCK_WIDE: Final = "select pg_advisory_xact_lock($1::bigint)"
_LOCK: Final = f"""
select clock_timestamp(), count(held.it)
from (select pg_advisory_xact_lock(key) as it from unnest({texts(1, "bigint")}) as key) as held"""

_RESOLVE: Final = """
select n.ordinal, min(found.subject), count(distinct found.subject)
from unnest($1::int[], $2::text[], $3::text[], $4::text[]) as n(ordinal, tenant, session_ids, token_id)
join lateral (
    select s.subject from sessions s
    where s.session_id = any (string_to_array(n.session_ids, e'\\x1f')) and s.tenant = n.tenant
    union all
    select t.subject from tokens t where t.token_id = n.token_id and t.tenant = n.tenant
) as found on true
group by n.ordinal"""

_FILED: Final = "select r.id, r.subject from revocations r where r.id = any ($1::uuid[])"

_KNOWN: Final = """
select r.id, r.batch_id, b.announced_at is null
from unnest($1::text[], $2::text[], $3::uuid[]) as n(tenant, subject, id)
join revocations r on r.tenant = n.tenant and r.subject = n.subject and r.id = n.id
left join batches b on b.id = r.batch_id"""

_FRESH: Final = """
select n.ordinal, s.session_id
from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    as n(ordinal, tenant, subject, keep, fresh_after)
join sessions s on s.tenant = n.tenant and s.subject = n.subject
    and s.session_id = any (string_to_array(n.keep, e'\\x1f'))
where s.established_at > n.fresh_after and s.ended_at is null"""

_BATCH: Final = """
insert into batches (id, lane, committed_at, announced_at, positions)
values ($1, 'revocation', $2, case when not $3::bool then $2::timestamptz end,
    case when not $3::bool then '{}'::jsonb end)"""

_COLUMNS: Final = (
    *("batch_id", "committed_at", "tenant", "subject", "id", "session_ids", "token_id", "client_id", "not_before"),
    *("keep", "keep_clients", "covers_until", "cause", "initiator", "reason_user", "reason_admin", "source"),
    *("event_id", "requested_at", "enforced", "redundant", "sessions_ended", "tokens_ended"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a chunk."""

    batch_id: uuid.UUID | None
    """Of the batch that is to be announced; None where there is nothing to announce."""
    recorded: uuid.UUID | None
    """Of the batch, also where it has nothing to announce; None where all was known."""
    committed_at: datetime
    applied: Sequence[Applied]
    duplicates: int
    unannounced: frozenset[uuid.UUID]
    """Earlier batches, of which a redelivered event is part, that were never announced."""


async def apply(engine: AsyncEngine, decisions: Sequence[Decision], positions: Callable[[], Positions]) -> Outcome:
    """Ends what `decisions` cover, in one transaction. Zero ended sessions after a redelivery is success.

    `positions` is asked just before the commit for the next offsets below which all is committed.
    """
    try:
        return await _apply(engine, decisions, positions, split=False)
    except UniqueViolationError:
        return await _apply(engine, decisions, positions, split=True)


async def _apply(
    engine: AsyncEngine, decisions: Sequence[Decision], positions: Callable[[], Positions], *, split: bool
) -> Outcome:
    # Of equal ones the first counts, as it would in a chunk of its own.
    unique = {decision.revocation.id: decision for decision in reversed(decisions)}
    known: frozenset[uuid.UUID] = frozenset()
    unannounced: frozenset[uuid.UUID] = frozenset()
    async with engine.begin() as connection:
        chunk = await _resolved(connection, list(unique.values()))
        now = await _lock(connection, chunk)
        if split:
            known, unannounced = await _known(connection, chunk)
        fresh = await _kept(connection, [decision for decision in chunk if decision.revocation.id not in known])
        applied = [Applied(revocation) for revocation in fresh]
        await end(connection, applied, now)
        announces = any(a.revocation.enforced and not a.redundant for a in applied)
        recorded = await _record(connection, applied, now, announces=announces) if applied else None
        await move_positions(connection, positions())
    return Outcome(
        batch_id=recorded if announces else None,
        recorded=recorded,
        committed_at=now,
        applied=applied,
        duplicates=len(decisions) - len(applied),
        unannounced=unannounced,
    )


async def _resolved(connection: AsyncConnection, decisions: Sequence[Decision]) -> list[Decision]:
    """`decisions` by subject, those without one under the subject that the registry knows, where it knows one."""
    nameless = [decision for decision in decisions if decision.revocation.selector.subject is None]
    if nameless:
        found = await _subjects(connection, [decision.revocation for decision in nameless])
        decisions = [_under(decision, found.get(decision.revocation.id)) for decision in decisions]
    return sorted(decisions, key=lambda decision: home(decision.revocation))


async def _subjects(connection: AsyncConnection, revocations: Sequence[Revocation]) -> Mapping[uuid.UUID, str]:
    filed = await fetch(connection, _FILED, ([r.id for r in revocations],))
    subjects: dict[uuid.UUID, str] = {row[0]: row[1] for row in filed}
    unfiled = [r for r in revocations if r.id not in subjects]
    rows = await fetch(
        connection,
        _RESOLVE,
        (
            list(range(len(unfiled))),
            [r.selector.tenant or "" for r in unfiled],
            [joined(r.selector.session_ids) for r in unfiled],
            [r.selector.token_id for r in unfiled],
        ),
    )
    return subjects | {unfiled[ordinal].id: subject for ordinal, subject, owners in rows if owners == 1}


def _under(decision: Decision, subject: str | None) -> Decision:
    if not subject or decision.revocation.selector.subject is not None:
        return decision
    selector = replace(decision.revocation.selector, subject=subject)
    return replace(decision, revocation=replace(decision.revocation, selector=selector))


async def _lock(connection: AsyncConnection, chunk: Sequence[Decision]) -> datetime:
    """Locks every subject of the chunk until the commit. Returns the database's time, once they are held."""
    homes = {home(decision.revocation) for decision in chunk}
    if any(not subject for _, subject in homes):
        # Nobody knows whose session it is: nobody may be registered meanwhile.
        await connection.exec_driver_sql(_LOCK_WIDE, (WIDE_LOCK,))
    keys = sorted({lock_key(*whose) for whose in homes})
    now: datetime = (await fetch(connection, _LOCK, (listed(map(str, keys)),)))[0][0]
    return now


async def _known(
    connection: AsyncConnection, chunk: Sequence[Decision]
) -> tuple[frozenset[uuid.UUID], frozenset[uuid.UUID]]:
    homes = [home(decision.revocation) for decision in chunk]
    columns = [whose[0] for whose in homes], [whose[1] for whose in homes], [d.revocation.id for d in chunk]
    rows = await fetch(connection, _KNOWN, columns)
    return frozenset(row[0] for row in rows), frozenset(row[1] for row in rows if row[2])


async def _kept(connection: AsyncConnection, chunk: Sequence[Decision]) -> list[Revocation]:
    """The revocations, where only a fresh session may be kept with just those of `keep` that are."""
    asked = [(ordinal, d) for ordinal, d in enumerate(chunk) if d.fresh_after is not None]
    revocations = [decision.revocation for decision in chunk]
    if not asked:
        return revocations
    rows = await fetch(
        connection,
        _FRESH,
        (
            [ordinal for ordinal, _ in asked],
            [home(d.revocation)[0] for _, d in asked],
            [home(d.revocation)[1] for _, d in asked],
            [joined(d.revocation.keep) for _, d in asked],
            [d.fresh_after for _, d in asked],
        ),
    )
    fresh = {(ordinal, session_id) for ordinal, session_id in rows}
    for ordinal, decision in asked:
        keep = tuple(session_id for session_id in decision.revocation.keep if (ordinal, session_id) in fresh)
        revocations[ordinal] = replace(decision.revocation, keep=keep)
    return revocations


async def _record(
    connection: AsyncConnection, applied: Sequence[Applied], now: datetime, *, announces: bool
) -> uuid.UUID:
    """Stores the revocations and their batch, whose id it returns.

    Raises asyncpg's `UniqueViolationError` where one is stored already.
    """
    batch_id = uuid.uuid4()
    reasons: dict[int, str] = {}
    records = [_row(a, batch_id, now, reasons) for a in applied]
    await (await driver(connection)).copy_records_to_table("revocations", records=records, columns=_COLUMNS)
    await connection.exec_driver_sql(_BATCH, (batch_id, now, announces))
    return batch_id


def _row(applied: Applied, batch_id: uuid.UUID, now: datetime, reasons: dict[int, str]) -> tuple[Any, ...]:
    """`applied` in the order of `_COLUMNS`. `reasons` remembers texts that many share."""
    revocation = applied.revocation
    selector = revocation.selector
    reason = reasons.get(id(revocation.reason_user))
    if reason is None:
        reason = reasons[id(revocation.reason_user)] = jsonb(revocation.reason_user)
    return (
        batch_id,
        now,
        selector.tenant or "",
        selector.subject or "",
        revocation.id,
        selector.session_ids or None,
        selector.token_id,
        selector.client_id,
        revocation.not_before,
        revocation.keep,
        revocation.keep_clients,
        revocation.covers_until,
        revocation.cause,
        revocation.initiator,
        reason,
        revocation.reason_admin,
        revocation.source,
        revocation.event_id,
        revocation.requested_at,
        revocation.enforced,
        applied.redundant,
        len(applied.sessions) or applied.matched,
        applied.tokens_ended,
    )


async def conflicting(engine: AsyncEngine, batch_ids: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
    """The revocations of these batches that bear an event id under which their source had said something else."""
    statement = """
        select n.id from batches b
        join revocations n on n.committed_at = b.committed_at and n.batch_id = b.id
        where b.id = any ($1::uuid[]) and exists (
            select from revocations r where r.event_id = n.event_id and r.source = n.source and r.id <> n.id)"""
    async with engine.connect() as connection:
        return frozenset(row[0] for row in await fetch(connection, statement, (list(batch_ids),)))
