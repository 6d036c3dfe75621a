"""What people ask for: sessions, revocations, what a revocation would end, and how the database itself is.

Reads only. Times that decide anything are the database's.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.policy import Decision
from revoker.core.revocation import Revocation
from revoker.storage import covering
from revoker.storage.batches import COLUMNS, revocation_of
from revoker.storage.columns import fetch, joined

_SESSION: Final = """
    s.tenant, s.subject, s.session_id, s.client_id, s.established_at, s.expires_at, s.device_id, s.device_name,
    host(s.ip) as ip, s.last_active_at, host(s.last_ip) as last_ip, s.ended_at, s.ended_by, s.born_ended,
    s.ended_at is null and coalesce(s.expires_at, s.established_at + $1::interval) <= clock_timestamp() as expired,
    (select r.cause from revocations r where r.id = s.ended_by limit 1) as cause,
    (select count(*) from tokens t where t.tenant = s.tenant and t.subject = s.subject and t.session_id = s.session_id
        and (t.client_id is null or t.client_id = s.client_id) and t.ended_at is null) as live_tokens"""

_SESSIONS: Final = f"""
select {_SESSION} from sessions s
where s.tenant = $2 and s.subject = $3
order by s.ended_at is not null, coalesce(s.ended_at, s.last_active_at, s.established_at) desc, s.session_id,
    s.client_id
limit $4"""

_LIVE_NAMED: Final = f"""
select * from (select {_SESSION} from sessions s where s.session_id = $2) as found
where ended_at is null and not expired
order by established_at, tenant, subject, client_id"""

_TOKENS: Final = """
select t.token_id, t.kind, t.client_id, t.issued_at, t.expires_at, t.ended_at, t.ended_by,
    t.ended_at is null and coalesce(t.expires_at, t.issued_at + $1::interval) <= clock_timestamp() as expired
from tokens t
where t.tenant = $2 and t.subject = $3 and t.session_id is null
order by t.ended_at is not null, t.issued_at desc, t.token_id
limit $4"""

_ENDED_BY_SUBJECT: Final = f"""
select {_SESSION} from sessions s
where s.tenant = $2 and s.subject = $3 and s.ended_by = $4
order by s.session_id, s.client_id limit $5"""

_ENDED_BY_NAME: Final = f"""
select {_SESSION} from sessions s
where s.tenant = $2 and s.session_id = any ($3::text[]) and s.ended_by = $4
order by s.subject, s.session_id, s.client_id limit $5"""

_FOUND: Final = f"{COLUMNS}, r.redundant, r.sessions_ended, r.tokens_ended, b.announced_at, b.enforced_at, b.proof_id"
_REVOCATION: Final = f"""
select {_FOUND} from revocations r left join batches b on b.id = r.batch_id where r.id = $1 limit 1"""
_NEWEST: Final = f"""
select {_FOUND} from revocations r left join batches b on b.id = r.batch_id
order by r.committed_at desc, r.id limit $1"""
_NEWEST_OF_SUBJECT: Final = f"""
select {_FOUND} from revocations r left join batches b on b.id = r.batch_id
where r.tenant = $2 and r.subject = $3 order by r.committed_at desc, r.id limit $1"""

# One revocation with the columns that `covering` speaks of.
_PREDICATE: Final = """(
    select $2::text as tenant, $3::text as subject, false as any_tenant,
        string_to_array($4::text, e'\\x1f') as session_ids, $5::text as token_id, $6::text as client_id,
        null::text as key_id, null::text as device_id, null::cidr as ip_network, '{}'::jsonb as labels,
        null::timestamptz as established_after, $7::timestamptz as not_before,
        coalesce(string_to_array($8::text, e'\\x1f'), '{}') as keep,
        coalesce(string_to_array($9::text, e'\\x1f'), '{}') as keep_clients, true as enforced
)"""
_WOULD_END: Final = f"""
select {_SESSION} from {_PREDICATE} as r
join sessions s on s.tenant = r.tenant and s.subject = r.subject
where s.ended_at is null and {covering.SESSION}
order by s.session_id, s.client_id"""
_WOULD_END_TOKENS: Final = f"""
select count(*) from {_PREDICATE} as r
join tokens t on t.tenant = r.tenant and t.subject = r.subject
where t.ended_at is null and $1::interval is not null and ({covering.TOKEN} or (t.session_id is not null and (
    select coalesce(bool_and(s.ended_at is not null or {covering.SESSION}), false) from sessions s
    where s.tenant = t.tenant and s.subject = t.subject and s.session_id = t.session_id
        and (t.client_id is null or s.client_id = t.client_id))))"""
_FRESH: Final = """
select s.session_id from sessions s
where s.tenant = $1 and s.subject = $2 and s.session_id = any ($3::text[]) and s.established_at > $4
    and s.ended_at is null"""

_SETTINGS: Final = "select name, setting from pg_settings where name = any ($1::text[])"
_BACKLOG: Final = "select count(*), min(committed_at), clock_timestamp() from batches where announced_at is null"
_POSITIONS: Final = """
select lane, topic, partition, next_offset, clock_timestamp() - moved_at
from lane_positions where topic = any ($1::text[])"""

# A sample from both ends of what there is: the key's beginning, and the newest.
_LIKE_ADDRESSES: Final = """
select count(distinct subject) from (
    (select subject from sessions limit 10000)
    union all
    (select subject from revocations order by committed_at desc limit 1000)
) as sample where subject ~ '[^@[:space:]]@[^@[:space:]]+[.][^@[:space:]]'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFound:
    """One client's part of a sign-in, as it is now."""

    tenant: str
    subject: str
    session_id: str
    client_id: str
    established_at: datetime
    expires_at: datetime | None
    device_id: str | None
    device_name: str | None
    ip: str | None
    last_active_at: datetime | None
    last_ip: str | None
    ended_at: datetime | None
    ended_by: uuid.UUID | None
    born_ended: bool
    expired: bool
    cause: str | None
    """Of the revocation that ended it; None also where that was pruned."""
    live_tokens: int

    @property
    def is_live(self) -> bool:
        """Neither ended nor expired."""
        return self.ended_at is None and not self.expired


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFound:
    """A token without a session."""

    token_id: str
    kind: str
    client_id: str | None
    issued_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None
    ended_by: uuid.UUID | None
    expired: bool

    @property
    def is_live(self) -> bool:
        """Neither ended nor expired."""
        return self.ended_at is None and not self.expired


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationFound:
    """A stored revocation and what became of it."""

    revocation: Revocation
    committed_at: datetime
    announced_at: datetime | None
    enforced_at: datetime | None
    """When its batch was proven; `service.gateways` says whether that proves the revocation."""
    proof_id: uuid.UUID | None
    redundant: bool
    sessions_ended: int
    """Where it is not enforced: how many it would have ended."""
    tokens_ended: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Batches that are committed and not announced."""

    count: int
    oldest: datetime | None
    now: datetime


async def now(engine: AsyncEngine) -> datetime:
    """The database's time."""
    async with engine.connect() as connection:
        instant: datetime = (await fetch(connection, "select clock_timestamp()", ()))[0][0]
        return instant


async def sessions_of(
    engine: AsyncEngine, *, tenant: str, subject: str, lifetime: timedelta, limit: int
) -> list[SessionFound]:
    """The subject's sessions, those not ended first, then by how recently anything happened."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _SESSIONS, (lifetime, tenant, subject, limit))
        return [SessionFound(**row._asdict()) for row in rows]


async def live_named(engine: AsyncEngine, session_id: str, *, lifetime: timedelta) -> list[SessionFound]:
    """The live sessions of that id, whoever's they are: one for each client of the sign-in, the oldest first."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _LIVE_NAMED, (lifetime, session_id))
        return [SessionFound(**row._asdict()) for row in rows]


async def loose_tokens_of(
    engine: AsyncEngine, *, tenant: str, subject: str, lifetime: timedelta, limit: int
) -> list[TokenFound]:
    """The subject's tokens that have no session and stand for themselves."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _TOKENS, (lifetime, tenant, subject, limit))
        return [TokenFound(**row._asdict()) for row in rows]


async def revocation(engine: AsyncEngine, id_: uuid.UUID) -> RevocationFound | None:
    """The revocation of that id. None: not committed (yet), or pruned."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _REVOCATION, (id_,))
        return _found(rows[0]._asdict()) if rows else None


async def newest(engine: AsyncEngine, limit: int) -> list[RevocationFound]:
    """The last revocations, newest first."""
    async with engine.connect() as connection:
        return [_found(row._asdict()) for row in await fetch(connection, _NEWEST, (limit,))]


async def newest_of(engine: AsyncEngine, *, tenant: str, subject: str, limit: int) -> list[RevocationFound]:
    """The last revocations filed under a subject, newest first."""
    async with engine.connect() as connection:
        return [_found(row._asdict()) for row in await fetch(connection, _NEWEST_OF_SUBJECT, (limit, tenant, subject))]


async def ended_by(
    engine: AsyncEngine, found: RevocationFound, *, lifetime: timedelta, limit: int
) -> list[SessionFound]:
    """The sessions that `found` ended, as far as it can be looked up by subject or by id."""
    selector = found.revocation.selector
    named: tuple[str, str | list[str]] = (_ENDED_BY_NAME, list(selector.session_ids))
    statement, whose = (_ENDED_BY_SUBJECT, selector.subject) if selector.subject else named
    async with engine.connect() as connection:
        rows = await fetch(connection, statement, (lifetime, selector.tenant or "", whose, found.revocation.id, limit))
        return [SessionFound(**row._asdict()) for row in rows]


async def would_end(engine: AsyncEngine, decision: Decision, *, lifetime: timedelta) -> tuple[list[SessionFound], int]:
    """The live sessions that `decision` would end now, and how many tokens. Its selector names a subject."""
    async with engine.connect() as connection:
        wanted = await _as_kept(connection, decision)
        selector = wanted.selector
        parameters = (
            lifetime,
            selector.tenant or "",
            selector.subject,
            joined(selector.session_ids),
            selector.token_id,
            selector.client_id,
            wanted.not_before,
            joined(wanted.keep),
            joined(wanted.keep_clients),
        )
        sessions = [SessionFound(**row._asdict()) for row in await fetch(connection, _WOULD_END, parameters)]
        tokens: int = (await fetch(connection, _WOULD_END_TOKENS, parameters))[0][0]
        return sessions, tokens


async def _as_kept(connection: AsyncConnection, decision: Decision) -> Revocation:
    wanted = decision.revocation
    if decision.fresh_after is None:
        return wanted
    whose = wanted.selector.tenant or "", wanted.selector.subject
    rows = await fetch(connection, _FRESH, (*whose, list(wanted.keep), decision.fresh_after))
    return replace(wanted, keep=tuple({row[0] for row in rows}))


def _found(row: Mapping[str, Any]) -> RevocationFound:
    return RevocationFound(
        revocation=revocation_of(row),
        committed_at=row["committed_at"],
        announced_at=row["announced_at"],
        enforced_at=row["enforced_at"],
        proof_id=row["proof_id"],
        redundant=row["redundant"],
        sessions_ended=row["sessions_ended"],
        tokens_ended=row["tokens_ended"],
    )


async def server_settings(engine: AsyncEngine, names: Sequence[str]) -> dict[str, str]:
    """What PostgreSQL itself runs with."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _SETTINGS, (list(names),))
        return {row.name: row.setting for row in rows}


async def backlog(engine: AsyncEngine) -> Backlog:
    """How many batches wait to be announced, and since when."""
    async with engine.connect() as connection:
        count, oldest, at = (await fetch(connection, _BACKLOG, ()))[0]
        return Backlog(count=count, oldest=oldest, now=at)


async def positions_of(engine: AsyncEngine, topics: Sequence[str]) -> dict[tuple[str, str, int], tuple[int, timedelta]]:
    """By lane, topic and partition: the next offset to apply, and how long ago it moved."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _POSITIONS, (list(topics),))
        return {(lane, topic, partition): (offset, idle) for lane, topic, partition, offset, idle in rows}


async def subjects_like_addresses(engine: AsyncEngine) -> int:
    """How many subjects of a sample look like e-mail addresses. Which ones is never told."""
    async with engine.connect() as connection:
        count: int = (await fetch(connection, _LIKE_ADDRESSES, ()))[0][0]
        return count
