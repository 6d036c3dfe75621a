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
from typing import Final

from asyncpg import UniqueViolationError
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.ids import WIDE_LOCK, lock_key
from revoker.core.policy import Decision
from revoker.core.revocation import Revocation
from revoker.storage.columns import driver, fetch, joined, jsonb, listed, texts
from revoker.storage.ending import Applied, end, home
from revoker.storage.positions import Positions, move_positions
from schemas.fields import wire_time
from schemas.inputs import Lane

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

_FILED: Final = """
select r.id, r.subject, r.batch_id, b.announced_at is null
from revocations r left join batches b on b.id = r.batch_id
where r.id = any ($1::uuid[])"""

_FRESH: Final = """
select n.ordinal, s.session_id
from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    as n(ordinal, tenant, subject, keep, fresh_after)
join sessions s on s.tenant = n.tenant and s.subject = n.subject
    and s.session_id = any (string_to_array(n.keep, e'\\x1f'))
where s.established_at > n.fresh_after and s.ended_at is null"""

# An INSERT, though COPY looks made for it: a server that waits for the rest of a COPY heeds no timeout at all, so a
# client that froze in the middle of one would hold its subjects' locks until it wakes up.
_TYPES: Final = (
    *("text", "text", "uuid", "text", "text", "text", "timestamptz", "text", "text", "timestamptz", "text", "text"),
    *("jsonb", "text", "text", "text", "timestamptz", "bool", "bool", "int", "int"),
)
_STORE: Final = f"""
with batch as (
    insert into batches (id, lane, committed_at, announced_at, positions)
    values ($1, 'revocation', $2, case when not ${len(_TYPES) + 3}::bool then $2::timestamptz end,
        case when not ${len(_TYPES) + 3}::bool then '{{}}'::jsonb end)
)
insert into revocations (
    batch_id, committed_at, tenant, subject, id, session_ids, token_id, client_id, not_before, keep, keep_clients,
    covers_until, cause, initiator, reason_user, reason_admin, source, event_id, requested_at, enforced, redundant,
    sessions_ended, tokens_ended)
select $1, $2, n.tenant, n.subject, n.id, string_to_array(n.session_ids, e'\\x1f'), n.token_id, n.client_id,
    n.not_before, coalesce(string_to_array(n.keep, e'\\x1f'), '{{}}'),
    coalesce(string_to_array(n.keep_clients, e'\\x1f'), '{{}}'), n.covers_until, n.cause, n.initiator, n.reason_user,
    n.reason_admin, n.source, n.event_id, n.requested_at, n.enforced, n.redundant, n.sessions_ended, n.tokens_ended
from unnest({", ".join(texts(number, type_) for number, type_ in enumerate(_TYPES, 3))}) as n(
    tenant, subject, id, session_ids, token_id, client_id, not_before, keep, keep_clients, covers_until, cause,
    initiator, reason_user, reason_admin, source, event_id, requested_at, enforced, redundant, sessions_ended,
    tokens_ended)"""


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
        chunk, resolved = await _resolved(connection, list(unique.values()))
        now = await _lock(connection, chunk, resolved)
        # What came without a subject is looked for in any case: before these locks were ours, somebody may have filed
        # it under another one, since the registry grows.
        sought = [decision.revocation.id for decision in chunk] if split else resolved
        if sought:
            filed = await fetch(connection, _FILED, (sought,))
            known = frozenset(row[0] for row in filed)
            unannounced = frozenset(row[2] for row in filed if row[3])
        fresh = await _kept(connection, [decision for decision in chunk if decision.revocation.id not in known])
        applied = [Applied(revocation) for revocation in fresh]
        await end(connection, applied, now)
        announces = any(a.revocation.enforced and not a.redundant for a in applied)
        recorded = await _record(connection, applied, now, announces=announces) if applied else None
        await move_positions(connection, Lane.REVOCATION, positions())
    return Outcome(
        batch_id=recorded if announces else None,
        recorded=recorded,
        committed_at=now,
        applied=applied,
        duplicates=len(decisions) - len(applied),
        unannounced=unannounced,
    )


async def _resolved(
    connection: AsyncConnection, decisions: Sequence[Decision]
) -> tuple[list[Decision], list[uuid.UUID]]:
    """`decisions` by subject, those without one under the subject that the registry knows, where it knows one.

    And the ids of those that came without one.
    """
    nameless = [decision for decision in decisions if decision.revocation.selector.subject is None]
    if nameless:
        found = await _subjects(connection, [decision.revocation for decision in nameless])
        decisions = [_under(decision, found.get(decision.revocation.id)) for decision in decisions]
    by_home = sorted(decisions, key=lambda decision: home(decision.revocation))
    return by_home, [decision.revocation.id for decision in nameless]


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


async def _lock(connection: AsyncConnection, chunk: Sequence[Decision], resolved: Sequence[uuid.UUID]) -> datetime:
    """Locks every subject of the chunk until the commit. Returns the database's time, once they are held.

    Of `resolved` the ids are locked as well: the same event may be filed elsewhere by another delivery of it.
    """
    homes = {home(decision.revocation) for decision in chunk}
    if any(not subject for _, subject in homes):
        # Nobody knows whose session it is: nobody may be registered meanwhile.
        await connection.exec_driver_sql(_LOCK_WIDE, (WIDE_LOCK,))
    keys = sorted({lock_key(*whose) for whose in homes} | {lock_key("\x1e", str(id_)) for id_ in resolved})
    now: datetime = (await fetch(connection, _LOCK, (listed(map(str, keys)),)))[0][0]
    return now


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
    await (await driver(connection)).execute(_STORE, batch_id, now, *_columns(applied), announces)
    return batch_id


def _columns(applied: Sequence[Applied]) -> list[str]:
    """The parameters of `_STORE`, from the third on."""
    revocations = [a.revocation for a in applied]
    selectors = [r.selector for r in revocations]
    reasons = {id(r.reason_user): r.reason_user for r in revocations}
    told = {key: jsonb(reason) for key, reason in reasons.items()}
    return [
        listed([s.tenant or "" for s in selectors]),
        listed([s.subject or "" for s in selectors]),
        listed([r.id.hex for r in revocations]),
        listed([joined(s.session_ids) for s in selectors]),
        listed([s.token_id for s in selectors]),
        listed([s.client_id for s in selectors]),
        listed([wire_time(r.not_before) for r in revocations]),
        listed([joined(r.keep) for r in revocations]),
        listed([joined(r.keep_clients) for r in revocations]),
        listed([wire_time(r.covers_until) for r in revocations]),
        listed([r.cause for r in revocations]),
        listed([r.initiator for r in revocations]),
        listed([told[id(r.reason_user)] for r in revocations]),
        listed([r.reason_admin for r in revocations]),
        listed([r.source for r in revocations]),
        listed([r.event_id for r in revocations]),
        listed([wire_time(r.requested_at) for r in revocations]),
        listed(["t" if r.enforced else "f" for r in revocations]),
        listed(["t" if a.redundant else "f" for a in applied]),
        listed([str(len(a.sessions) or a.matched) for a in applied]),
        listed([str(a.tokens_ended) for a in applied]),
    ]


async def conflicting(engine: AsyncEngine, batch_ids: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
    """The revocations of these batches that bear an event id under which their source had said something else."""
    statement = """
        select n.id from batches b
        join revocations n on n.committed_at = b.committed_at and n.batch_id = b.id
        where b.id = any ($1::uuid[]) and exists (
            select from revocations r where r.event_id = n.event_id and r.source = n.source and r.id <> n.id)"""
    async with engine.connect() as connection:
        return frozenset(row[0] for row in await fetch(connection, statement, (list(batch_ids),)))
