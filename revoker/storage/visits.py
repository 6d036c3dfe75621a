"""Sessions in use: when and from where each was last seen. And those that are served though it was proven they are not.

A visit of a session that is over is written down, too: it tells of a gateway what its receipts do not. Until the end is
proven to be enforced that is the way of things. After it, somebody lets in whom it has reported to refuse.

A visit that names no client may be of any part of the sign-in, and so of a dead one only where none lives. What was
born ended accuses nobody: its own announcement is another than the one of the revocation, which may be proven before.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.registration import Visit
from revoker.storage.columns import fetch

# Of an ended session the first visit after its end counts, however soon; then one each so often, as of a live one. An
# address that was seen before the end says nothing about it.
_VISITS: Final = """
with seen as (
    update sessions s set
        last_active_at = greatest(s.last_active_at, n.at),
        last_ip = case when s.ended_at is null or s.last_active_at > s.ended_at then coalesce(n.ip::inet, s.last_ip)
            else n.ip::inet end,
        expires_at = case when s.ended_at is null then greatest(s.expires_at, n.expires_at) else s.expires_at end
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::timestamptz[],
        $8::text[]) as n(tenant, subject, session_id, client_id, at, ip, expires_at, source)
    where s.tenant = n.tenant and s.subject = n.subject and s.session_id = n.session_id
        and (n.client_id is null or s.client_id = n.client_id)
        and case when s.ended_at is null then
            s.last_active_at is null or n.at > s.last_active_at + $9::interval
                or n.expires_at > s.expires_at + $9::interval or (n.at > s.last_active_at and n.ip::inet <> s.last_ip)
        else
            n.at > s.ended_at and (s.last_active_at is null or s.last_active_at <= s.ended_at
                    or n.at > s.last_active_at + $9::interval)
                and (n.client_id is not null or not exists (
                    select from sessions o where o.tenant = s.tenant and o.subject = s.subject
                        and o.session_id = s.session_id and o.ended_at is null))
        end
    returning s.ended_by, s.born_ended, s.session_id, s.client_id, n.at, n.source
)
select s.ended_by, s.session_id, s.client_id, s.at, s.source
from seen s where s.ended_by is not null and not s.born_ended"""

_PROVEN: Final = """
select r.id, b.enforced_at from revocations r join batches b on b.id = r.batch_id
where r.id = any ($1::uuid[]) and b.enforced_at is not null"""

_SERVED: Final = """
select s.session_id, s.client_id, s.last_active_at as at, host(s.last_ip) as ip
from sessions s
where s.tenant = $1 and {whose} and s.ended_by = $3 and s.last_active_at > $4 and not s.born_ended
order by s.last_active_at desc, s.session_id, s.client_id limit $5"""
_SERVED_OF_SUBJECT: Final = _SERVED.format(whose="s.subject = $2")
_SERVED_BY_NAME: Final = _SERVED.format(whose="s.session_id = any ($2::text[])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One client's part of a sign-in was let in after that could not be any more."""

    revocation_id: uuid.UUID
    session_id: str
    client_id: str
    source: str
    """Who told of the visit."""
    after: timedelta
    """How long after its end was proven to be enforced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastServed:
    """The last that was heard of it."""

    session_id: str
    client_id: str
    at: datetime
    ip: str | None
    """None: whoever told of the visit did not say from where."""


async def note_visits(connection: AsyncConnection, visits: Sequence[Visit], every: timedelta) -> list[Served]:
    """Writes down when sessions were last in use, each at most once in `every`. Returns what must not have been."""
    if not visits:
        return []
    columns = (
        [row.tenant for row in visits],
        [row.subject for row in visits],
        [row.session_id for row in visits],
        [row.client_id for row in visits],
        [row.at for row in visits],
        [row.ip for row in visits],
        [row.expires_at for row in visits],
        [row.source for row in visits],
    )
    over = await fetch(connection, _VISITS, (*columns, every))
    if not over:
        return []
    rows = await fetch(connection, _PROVEN, (sorted({row.ended_by for row in over}),))
    proven: dict[uuid.UUID, datetime] = {row[0]: row[1] for row in rows}
    return [
        Served(
            revocation_id=row.ended_by,
            session_id=row.session_id,
            client_id=row.client_id,
            source=row.source,
            after=row.at - proven[row.ended_by],
        )
        for row in over
        if row.ended_by in proven and row.at > proven[row.ended_by]
    ]


async def served_since(
    engine: AsyncEngine,
    revocation_id: uuid.UUID,
    *,
    tenant: str,
    subject: str | None,
    session_ids: Sequence[str],
    since: datetime,
    limit: int,
) -> list[LastServed]:
    """Which of those that it ended were in use after `since`, as far as they can be looked up; the last first."""
    statement, whose = (_SERVED_OF_SUBJECT, subject) if subject else (_SERVED_BY_NAME, list(session_ids))
    async with engine.connect() as connection:
        rows = await fetch(connection, statement, (tenant, whose, revocation_id, since, limit))
        return [LastServed(**row._asdict()) for row in rows]
