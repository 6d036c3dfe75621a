"""One chunk of session activity, taken in by one transaction; what a stored revocation covers is born ended.

Locks are taken before anything is read, exclusive against revocations of the same subjects: otherwise a registration
and a revocation that overlap would each miss the other (write skew), and the session would live. Registrations share
them, unless a chunk brings a token of a session: beside the chunk in which that session is born ended, it would live.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.ids import WIDE_LOCK, lock_key
from revoker.core.notices import EndedSession, EndedToken
from revoker.core.registration import Registration
from revoker.storage import covering
from revoker.storage.batches import Late, LateSession, LateToken, late_to_json
from revoker.storage.columns import fetch, jsonb, listed, texts
from revoker.storage.positions import Positions, move_positions
from revoker.storage.visits import Served, note_visits
from schemas.fields import wire_time
from schemas.inputs import Lane

_LOCK_WIDE: Final = "select pg_advisory_xact_lock_shared($1::bigint)"
_LOCK: Final = f"""
select clock_timestamp(), count(held.it)
from (
    select case when alone then pg_advisory_xact_lock(key) else pg_advisory_xact_lock_shared(key) end as it
    from unnest({texts(1, "bigint")}, {texts(2, "boolean")}) as k(key, alone)
) as held"""

_KEY: Final = f"{texts(1)}, {texts(2)}, {texts(3)}, {texts(4)}"

# The stored revocations that may cover a row: its subject's, those that name just its id, and the wide ones.
_COVERING_SESSION: Final = f"""
    select r.id from revocations r where r.tenant = s.tenant and r.subject = s.subject and {covering.SESSION}
    union all
    select r.id from nameless r where {covering.SESSION}
    limit 1"""

# Those that name no subject: just some of these sessions, or no session at all.
_NAMELESS: Final = f"""
    select r.* from revocations r where r.subject = '' and r.session_ids && {texts(3)}
    union all
    select r.* from revocations r where r.subject = '' and r.session_ids is null and r.token_id is null"""

# Answers how many rows of the chunk it took in, how many of those were there before and say something else (the first
# word stays), and whether a stored revocation covers one. Mostly all are new and none is covered: then that is all.
_SESSIONS: Final = f"""
with n as materialized (
    select * from unnest({_KEY}, {texts(5, "timestamptz")}, {texts(6, "timestamptz")}, {texts(7)}, {texts(8)},
        {texts(9, "inet")}, {texts(10)}, {texts(11, "jsonb")})
        as n(tenant, subject, session_id, client_id, established_at, expires_at, device_id, device_name, ip, key_id,
            labels)
), taken as (
    insert into sessions as s (tenant, subject, session_id, client_id, established_at, registered_at, expires_at,
        device_id, device_name, ip, key_id, labels)
    select n.tenant, n.subject, n.session_id, n.client_id, n.established_at, $12, n.expires_at, n.device_id,
        n.device_name, n.ip, n.key_id, n.labels
    from n
    on conflict (tenant, subject, session_id, client_id) do update set
        established_at = least(s.established_at, excluded.established_at),
        expires_at = greatest(s.expires_at, excluded.expires_at),
        device_id = coalesce(s.device_id, excluded.device_id),
        device_name = coalesce(s.device_name, excluded.device_name),
        ip = coalesce(s.ip, excluded.ip),
        key_id = coalesce(s.key_id, excluded.key_id),
        labels = excluded.labels || s.labels
    where s.ended_at is null and (
        excluded.established_at < s.established_at or excluded.expires_at > s.expires_at
        or (s.expires_at is null) > (excluded.expires_at is null)
        or (s.device_id is null) > (excluded.device_id is null)
        or (s.device_name is null) > (excluded.device_name is null)
        or (s.ip is null) > (excluded.ip is null) or (s.key_id is null) > (excluded.key_id is null)
        or not s.labels @> excluded.labels
        or s.device_id <> excluded.device_id or s.ip <> excluded.ip or s.key_id <> excluded.key_id)
    returning s.*, s.xmax
), nameless as materialized ({_NAMELESS}
)
select count(*), count(*) filter (where t.xmax <> 0 and exists (
        select from n
        where n.tenant = t.tenant and n.subject = t.subject and n.session_id = t.session_id
            and n.client_id = t.client_id
            and (n.device_id <> t.device_id or n.ip <> t.ip or n.key_id <> t.key_id))),
    exists (select from taken s cross join lateral ({_COVERING_SESSION}) as r)
from taken t"""

_TOKENS: Final = f"""
insert into tokens as t (tenant, subject, token_id, session_id, client_id, kind, issued_at, expires_at)
select n.* from unnest({_KEY}, {texts(5)}, {texts(6)}, {texts(7, "timestamptz")}, {texts(8, "timestamptz")}) as n
on conflict (tenant, subject, token_id) do update set
    session_id = coalesce(t.session_id, excluded.session_id),
    client_id = coalesce(t.client_id, excluded.client_id),
    issued_at = least(t.issued_at, excluded.issued_at),
    expires_at = greatest(t.expires_at, excluded.expires_at)
where t.ended_at is null and (
    excluded.issued_at < t.issued_at or excluded.expires_at > t.expires_at
    or (t.expires_at is null) > (excluded.expires_at is null)
    or (t.session_id is null) > (excluded.session_id is null)
    or (t.client_id is null) > (excluded.client_id is null))"""

_COVERING_TOKEN: Final = f"""
    select r.id from revocations r where r.tenant = t.tenant and r.subject = t.subject and {covering.TOKEN}
    union all
    select r.id from revocations r
    where r.subject = '' and r.token_id is not null and r.token_id = t.token_id and {covering.TOKEN}
    union all
    select r.id from revocations r
    where r.subject = '' and r.session_ids is null and r.token_id is null and {covering.TOKEN}
    union all
    select part.ended_by from (
        select (array_agg(s.ended_by))[1] as ended_by, bool_and(s.ended_at is not null) as over
        from sessions s
        where s.tenant = t.tenant and s.subject = t.subject and s.session_id = t.session_id
            and (t.client_id is null or s.client_id = t.client_id)
    ) as part where t.session_id is not null and part.over
    limit 1"""

# The second half finds what an earlier delivery had ended already: it is announced again, under the same id.
_END_SESSIONS: Final = f"""
with seen as materialized (
    select s.* from unnest({_KEY}) as k(tenant, subject, session_id, client_id)
    join sessions s using (tenant, subject, session_id, client_id)
), nameless as materialized ({_NAMELESS}
), dead as (
    update sessions as it set ended_at = $5, ended_by = covered.id, born_ended = true
    from (
        select s.tenant, s.subject, s.session_id, s.client_id, r.id
        from seen s cross join lateral ({_COVERING_SESSION}) as r
        where s.ended_at is null
    ) as covered
    where it.tenant = covered.tenant and it.subject = covered.subject and it.session_id = covered.session_id
        and it.client_id = covered.client_id
    returning it.ended_by, it.tenant, it.subject, it.session_id, it.client_id, it.expires_at, it.ended_at
)
select *, true as now from dead
union all
select s.ended_by, s.tenant, s.subject, s.session_id, s.client_id, s.expires_at, s.ended_at, false
from seen s where s.born_ended"""

_END_TOKENS: Final = f"""
with k as materialized (
    select * from unnest($1::text[], $2::text[], $3::text[]) as k(tenant, subject, token_id)
), dead as (
    update tokens as it set ended_at = $4, ended_by = covered.id, born_ended = true
    from (
        select t.tenant, t.subject, t.token_id, r.id
        from k join tokens t using (tenant, subject, token_id)
        cross join lateral ({_COVERING_TOKEN}) as r
        where t.ended_at is null
    ) as covered
    where it.tenant = covered.tenant and it.subject = covered.subject and it.token_id = covered.token_id
    returning it.ended_by, it.tenant, it.subject, it.token_id, it.session_id, it.client_id, it.expires_at, it.ended_at
)
select *, true as now from dead
union all
select t.ended_by, t.tenant, t.subject, t.token_id, t.session_id, t.client_id, t.expires_at, t.ended_at, false
from k join tokens t using (tenant, subject, token_id) where t.born_ended"""

# Tokens that were known before their session was, or before it was known to be that old.
_END_TOKENS_OF: Final = """
update tokens as it set ended_at = $4, ended_by = dead.id
from (
    select t.tenant, t.subject, t.token_id, part.ended_by as id
    from (select distinct * from unnest($1::text[], $2::text[], $3::text[]) as k(tenant, subject, session_id)) as k
    join tokens t on t.tenant = k.tenant and t.subject = k.subject and t.session_id = k.session_id
    cross join lateral (
        select (array_agg(s.ended_by))[1] as ended_by, bool_and(s.ended_at is not null) as over
        from sessions s
        where s.tenant = t.tenant and s.subject = t.subject and s.session_id = t.session_id
            and (t.client_id is null or s.client_id = t.client_id)
    ) as part
    where t.ended_at is null and part.over
) as dead
where it.tenant = dead.tenant and it.subject = dead.subject and it.token_id = dead.token_id and it.ended_at is null
returning it.ended_by"""

_PARTS: Final = """
select s.ended_by, s.tenant, s.subject, s.session_id, s.client_id, s.expires_at, s.ended_at
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as k(tenant, subject, session_id, client_id)
join sessions s on s.tenant = k.tenant and s.subject = k.subject and s.session_id = k.session_id
    and (k.client_id is null or s.client_id = k.client_id)
where s.ended_at is not null"""

_BATCH: Final = """
insert into batches (id, lane, committed_at, late) values ($1, 'registration', $2, $3::jsonb)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What became of a chunk."""

    batch_id: uuid.UUID | None
    """Of the batch that is to be announced; None where nothing was born ended."""
    committed_at: datetime
    late: Sequence[Late]
    ended: Sequence[tuple[uuid.UUID, Literal["session", "token"]]]
    """What ended just now, and by which revocation."""
    conflicts: int
    """Attributes that another record of the same session had given differently; the first was kept."""
    served: Sequence[Served] = ()
    """Visits of sessions that had been proven by then to be served by nobody."""


async def register(
    engine: AsyncEngine, chunk: Registration, presented_every: timedelta, positions: Callable[[], Positions]
) -> Registered:
    """Takes `chunk` in, in one transaction. Doing it again changes nothing.

    `positions` is asked just before the commit for the next offsets below which all is committed.
    """
    async with engine.begin() as connection:
        now = await _lock(connection, chunk)
        sessions, conflicts = await _take_in_sessions(connection, chunk, now)
        tokens = await _take_in_tokens(connection, chunk, now)
        followed = await _end_tokens_of(connection, [row for row in sessions if row.now], now)
        served = await note_visits(connection, chunk.visits, presented_every)
        late = list(dict.fromkeys([*_late_sessions(sessions), *await _late_tokens(connection, tokens)]))
        batch_id = uuid.uuid4() if late else None
        if late:
            await connection.exec_driver_sql(_BATCH, (batch_id, now, late_to_json(late)))
        await move_positions(connection, Lane.REGISTRATION, positions())
    return Registered(
        batch_id=batch_id,
        committed_at=now,
        late=late,
        ended=[
            *((row.ended_by, "session") for row in sessions if row.now),
            *((row.ended_by, "token") for row in tokens if row.now),
            *((row.ended_by, "token") for row in followed),
        ],
        conflicts=conflicts,
        served=served,
    )


async def _lock(connection: AsyncConnection, chunk: Registration) -> datetime:
    await connection.exec_driver_sql(_LOCK_WIDE, (WIDE_LOCK,))
    alone = {lock_key(row.tenant, row.subject) for row in chunk.tokens if row.session_id is not None}
    keys = sorted({lock_key(*subject) for subject in chunk.subjects})
    columns = listed(map(str, keys)), listed("t" if key in alone else "f" for key in keys)
    now: datetime = (await fetch(connection, _LOCK, columns))[0][0]
    return now


async def _take_in_sessions(
    connection: AsyncConnection, chunk: Registration, now: datetime
) -> tuple[Sequence[Any], int]:
    """Returns those of the chunk that were born ended, now or when it was delivered before; and how many conflict."""
    rows = chunk.sessions
    if not rows:
        return (), 0
    columns = (
        listed([row.tenant for row in rows]),
        listed([row.subject for row in rows]),
        listed([row.session_id for row in rows]),
        listed([row.client_id for row in rows]),
    )
    attributes = (
        listed([wire_time(row.established_at) for row in rows]),
        listed([_time(row.expires_at) for row in rows]),
        listed([row.device_id for row in rows]),
        listed([row.device_name for row in rows]),
        listed([row.ip for row in rows]),
        listed([row.key_id for row in rows]),
        listed([jsonb(row.labels) if row.labels else "{}" for row in rows]),
    )
    [(taken, conflicts, is_covered)] = await fetch(connection, _SESSIONS, (*columns, *attributes, now))
    if taken == len(rows) and not is_covered:
        return (), conflicts
    return await fetch(connection, _END_SESSIONS, (*columns, now)), conflicts


async def _take_in_tokens(connection: AsyncConnection, chunk: Registration, now: datetime) -> Sequence[Any]:
    rows = chunk.tokens
    if not rows:
        return ()
    keys = [row.tenant for row in rows], [row.subject for row in rows], [row.token_id for row in rows]
    attributes = (
        listed([row.session_id for row in rows]),
        listed([row.client_id for row in rows]),
        listed([row.kind for row in rows]),
        listed([wire_time(row.issued_at) for row in rows]),
        listed([_time(row.expires_at) for row in rows]),
    )
    await connection.exec_driver_sql(_TOKENS, (*map(listed, keys), *attributes))
    return await fetch(connection, _END_TOKENS, (*keys, now))


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else wire_time(instant)


async def _end_tokens_of(connection: AsyncConnection, rows: Sequence[Any], now: datetime) -> Sequence[Any]:
    """Ends what is left of the tokens of sessions that were born ended just now."""
    if not rows:
        return ()
    keys = [row.tenant for row in rows], [row.subject for row in rows], [row.session_id for row in rows]
    return await fetch(connection, _END_TOKENS_OF, (*keys, now))


def _late_sessions(rows: Sequence[Any]) -> list[Late]:
    return [
        LateSession(
            row.ended_by,
            row.tenant,
            row.subject,
            EndedSession(row.session_id, row.client_id, row.expires_at),
            row.ended_at,
        )
        for row in rows
    ]


async def _late_tokens(connection: AsyncConnection, rows: Sequence[Any]) -> list[Late]:
    """A token of an ended session announces that session; one without a session announces itself."""
    loose = [row for row in rows if row.session_id is None]
    bound = [row for row in rows if row.session_id is not None]
    late: list[Late] = [
        LateToken(row.ended_by, row.tenant, row.subject, EndedToken(row.token_id, row.expires_at), row.ended_at)
        for row in loose
    ]
    if bound:
        keys = (
            [row.tenant for row in bound],
            [row.subject for row in bound],
            [row.session_id for row in bound],
            [row.client_id for row in bound],
        )
        late += _late_sessions(await fetch(connection, _PARTS, keys))
    return late
