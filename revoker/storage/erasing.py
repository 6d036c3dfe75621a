"""Forgetting one subject: its sessions, tokens and revocations, in chunks under the subject's own lock.

Revocations go last: until then whatever of the subject is registered meanwhile is still born ended.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.ids import lock_key
from revoker.storage.columns import fetch

CHUNK: Final = 1_000

_LOCK: Final = "select pg_advisory_xact_lock($1::bigint)"

_HELD: Final = """
select
    (select count(*) from sessions where tenant = $1 and subject = $2),
    (select count(*) from sessions where tenant = $1 and subject = $2 and ended_at is null
        and coalesce(expires_at, 'infinity') > clock_timestamp()),
    (select count(*) from tokens where tenant = $1 and subject = $2),
    (select count(*) from revocations where tenant = $1 and subject = $2),
    (select max(covers_until) from revocations
        where tenant = $1 and subject = $2 and enforced and covers_until > clock_timestamp()),
    (select count(*) from revocations r join batches b on b.id = r.batch_id
        where r.tenant = $1 and r.subject = $2 and b.announced_at is null)"""

_DELETE: Final = """
with doomed as (select ctid from {table} where tenant = $1 and subject = $2 limit $3 for update)
delete from {table} x using doomed where x.ctid = doomed.ctid"""

_DELETE_EFFECTS: Final = """
with doomed as (
    select e.revocation_id, e.gateway_id from revocations r join gateway_effects e on e.revocation_id = r.id
    where r.tenant = $1 and r.subject = $2 limit $3
)
delete from gateway_effects x using doomed
where x.revocation_id = doomed.revocation_id and x.gateway_id = doomed.gateway_id"""

# What gateways told of a revocation names addresses, and is found by the revocation alone: it goes before.
_DELETES: Final = {
    "tokens": _DELETE.format(table="tokens"),
    "sessions": _DELETE.format(table="sessions"),
    "gateway_effects": _DELETE_EFFECTS,
    "revocations": _DELETE.format(table="revocations"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is stored of a subject."""

    sessions: int
    live: int
    tokens: int
    revocations: int
    covers_until: datetime | None
    """Where set, a revocation still covers sessions that may come up until then."""
    unannounced: int
    """Revocations that nobody was told of yet."""

    @property
    def is_empty(self) -> bool:
        """Nothing is known of the subject."""
        return not (self.sessions or self.tokens or self.revocations)


async def held(engine: AsyncEngine, *, tenant: str, subject: str) -> Held:
    """What is stored of the subject now."""
    async with engine.connect() as connection:
        return await _held(connection, tenant, subject)


async def erase(engine: AsyncEngine, *, tenant: str, subject: str, force: bool) -> AsyncIterator[tuple[str, int]]:
    """Deletes in chunks, each its own transaction. Yields the table and how many rows.

    Ends early, having said so by `held`, where a revocation came that must not be forgotten yet: look again afterwards.
    """
    for table, statement in _DELETES.items():
        while True:
            async with engine.begin() as connection:
                await connection.exec_driver_sql(_LOCK, (lock_key(tenant, subject),))
                if not may_erase(await _held(connection, tenant, subject), force=force):
                    return
                done = await connection.exec_driver_sql(statement, (tenant, subject, CHUNK))
            yield table, done.rowcount
            if done.rowcount < CHUNK:
                break


def may_erase(found: Held, *, force: bool) -> bool:
    """Whether no revocation is needed any more. What was never announced is needed, whatever anybody says."""
    return not found.unannounced and (force or found.covers_until is None)


async def _held(connection: AsyncConnection, tenant: str, subject: str) -> Held:
    sessions, live, tokens, revocations, covers_until, unannounced = (
        await fetch(connection, _HELD, (tenant, subject))
    )[0]
    return Held(
        sessions=sessions,
        live=live,
        tokens=tokens,
        revocations=revocations,
        covers_until=covers_until,
        unannounced=unannounced,
    )
