"""Batches: what is still to be announced, derived again from rows, and where it was announced."""

import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core import notices
from revoker.core.ids import RevocationId
from revoker.core.notices import EndedSession, EndedToken, Notice
from revoker.core.revocation import Revocation, Selector
from revoker.storage.columns import fetch, jsonb
from revoker.storage.positions import Positions, move_positions
from schemas.inputs import Lane

COLUMNS: Final = """
    r.id, r.any_tenant, r.tenant, r.subject, r.session_ids, r.token_id, r.client_id, r.key_id, r.device_id,
    host(network(r.ip_network)) || '/' || masklen(r.ip_network) as ip_network, r.labels, r.established_after,
    r.not_before, r.keep, r.keep_clients, r.covers_until, r.cause, r.initiator, r.reason_user, r.reason_admin,
    r.source, r.event_id, r.requested_at, r.enforced, r.committed_at"""

_BATCHES: Final = "select b.id, b.lane, b.committed_at, b.late from batches b where b.id = any ($1::uuid[])"

_REVOCATIONS: Final = f"""
select {COLUMNS} from batches b
join revocations r on r.committed_at = b.committed_at and r.batch_id = b.id
where b.id = any ($1::uuid[]) and r.enforced and not r.redundant"""

_SESSIONS: Final = """
select s.ended_by, s.session_id, s.client_id, s.expires_at, s.subject
from unnest($1::text[], $2::text[]) as k(tenant, subject)
join sessions s on s.tenant = k.tenant and s.subject = k.subject
where s.ended_by = any ($3::uuid[]) and not s.born_ended"""

_SESSIONS_BY_ID: Final = """
select s.ended_by, s.session_id, s.client_id, s.expires_at, s.subject
from unnest($1::text[], $2::text[]) as k(tenant, session_id)
join sessions s on s.tenant = k.tenant and s.session_id = k.session_id
where s.ended_by = any ($3::uuid[]) and not s.born_ended"""

_TOKENS: Final = """
select t.ended_by, t.token_id, t.expires_at
from unnest($1::text[], $2::text[]) as k(tenant, subject)
join tokens t on t.tenant = k.tenant and t.subject = k.subject
where t.ended_by = any ($3::uuid[]) and not t.born_ended and t.session_id is null"""

# Losing this line only means that the batch is announced once more: it need not wait for the disk.
_ANNOUNCED: Final = """
update batches b
set announced_at = clock_timestamp(), late = null, positions = n.positions::jsonb,
    epoch = (select f.epoch from feeds f order by f.began_at desc limit 1)
from unnest($1::uuid[], $2::text[]) as n(id, positions)
where b.id = n.id and b.announced_at is null"""

_STALE: Final = """
select b.id from batches b where b.announced_at is null and b.committed_at < clock_timestamp() - $1::interval
order by b.committed_at limit 20"""

_SWEEPER_LOCK: Final = 0x7265767377

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class LateSession:
    """A session that is over and that somebody registered, or issued a token for."""

    revocation_id: uuid.UUID
    tenant: str
    subject: str
    session: EndedSession
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class LateToken:
    """A token without a session that was issued though it is over."""

    revocation_id: uuid.UUID
    tenant: str
    subject: str
    token: EndedToken
    ended_at: datetime


Late = LateSession | LateToken


def revocation_of(row: Mapping[str, Any]) -> Revocation:
    """A stored row (the columns of `COLUMNS`) as the value that it was."""
    return Revocation(
        id=RevocationId(uuid.UUID(str(row["id"]))),
        selector=Selector(
            tenant=None if row["any_tenant"] else row["tenant"],
            subject=row["subject"] or None,
            session_ids=tuple(row["session_ids"] or ()),
            token_id=row["token_id"],
            client_id=row["client_id"],
            key_id=row["key_id"],
            device_id=row["device_id"],
            ip_network=row["ip_network"],
            labels=tuple(sorted(_json(row["labels"]).items())),
            established_after=row["established_after"],
        ),
        not_before=row["not_before"],
        keep=tuple(row["keep"]),
        keep_clients=tuple(row["keep_clients"]),
        covers_until=row["covers_until"],
        cause=row["cause"],
        initiator=row["initiator"],
        reason_user=_json(row["reason_user"]),
        reason_admin=row["reason_admin"],
        source=row["source"],
        event_id=row["event_id"],
        requested_at=row["requested_at"],
        enforced=row["enforced"],
    )


def _json(value: Any) -> dict[str, str]:  # noqa: ANN401 - text or tree, as the driver has it
    tree: dict[str, str] = msgspec.json.decode(value) if isinstance(value, str) else value
    return tree


async def derive(engine: AsyncEngine, batch_ids: Sequence[uuid.UUID]) -> list[Notice]:
    """All that the batches announce, from their rows alone: the bytes and ids of the first time."""
    async with engine.connect() as connection:
        batches = await fetch(connection, _BATCHES, (list(batch_ids),))
        rows = [row._asdict() for row in await fetch(connection, _REVOCATIONS, (list(batch_ids),))]
        revocations = [(revocation_of(row), row["committed_at"]) for row in rows]
        named = [r for r, _ in revocations if r.selector.subject]
        # Of one without a subject every entry names its own: it is found by its ids, below, and not once more here.
        owners = [r.selector.tenant or "" for r in named], [r.selector.subject for r in named], [r.id for r in named]
        nameless = [
            (s.tenant or "", i) for r, _ in revocations for s in (r.selector,) if not s.subject for i in s.session_ids
        ]
        unnamed = [r.id for r, _ in revocations if not r.selector.subject]
        by_id = [tenant for tenant, _ in nameless], [session_id for _, session_id in nameless], unnamed
        sessions: dict[uuid.UUID, set[EndedSession]] = defaultdict(set)
        for ended_by, session_id, client_id, expires_at, _ in await fetch(connection, _SESSIONS, owners):
            sessions[ended_by].add(EndedSession(session_id, client_id, expires_at))
        for ended_by, session_id, client_id, expires_at, subject in await fetch(connection, _SESSIONS_BY_ID, by_id):
            sessions[ended_by].add(EndedSession(session_id, client_id, expires_at, subject))
        tokens: dict[uuid.UUID, set[EndedToken]] = defaultdict(set)
        for ended_by, token_id, expires_at in await fetch(connection, _TOKENS, owners):
            tokens[ended_by].add(EndedToken(token_id, expires_at))
    announced = [
        notice
        for revocation, committed_at in revocations
        for notice in notices.ended(revocation, committed_at, sessions[revocation.id], tokens[revocation.id])
    ]
    late = [late_from(entry) for batch in batches for entry in (batch.late or ())]
    return announced + await derive_late(engine, late)


async def derive_late(engine: AsyncEngine, late: Sequence[Late]) -> list[Notice]:
    """The notices of sessions and tokens that were born ended."""
    known = await stored(engine, [entry.revocation_id for entry in late])
    return [late_notice(known[entry.revocation_id], entry) for entry in late if entry.revocation_id in known]


async def stored(engine: AsyncEngine, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Revocation]:
    """The revocations of these ids, of which an erased or pruned one is absent."""
    if not ids:
        return {}
    statement = f"select {COLUMNS} from revocations r where r.id = any ($1::uuid[])"
    async with engine.connect() as connection:
        return {row.id: revocation_of(row._asdict()) for row in await fetch(connection, statement, (list(set(ids)),))}


def late_notice(revocation: Revocation, entry: Late) -> Notice:
    """What is told of one entry."""
    match entry:
        case LateSession():
            return notices.late(revocation, entry.subject, entry.session, entry.ended_at)
        case LateToken():
            return notices.late_token(revocation, entry.subject, entry.token, entry.ended_at)


def late_to_json(late: Iterable[Late]) -> str:
    """`late` as a batch row keeps it until it is announced."""
    return _encode([[type(entry).__name__, entry] for entry in late]).decode()


def late_from(entry: Any) -> Late:  # noqa: ANN401 - a decoded JSON tree
    """The twin of `late_to_json`, an entry at a time."""
    kind, tree = entry
    return msgspec.convert(tree, {"LateSession": LateSession, "LateToken": LateToken}[kind], strict=False)


async def mark_announced(
    engine: AsyncEngine,
    announced: Sequence[tuple[uuid.UUID, Mapping[int, int]]],
    applied: tuple[Lane, Positions] | None = None,
) -> None:
    """Stores where each batch was announced (partition to highest offset), and moves the positions of a lane."""
    if not announced and not applied:
        return
    ids = [batch_id for batch_id, _ in announced]
    positions = [jsonb({str(partition): offset for partition, offset in written.items()}) for _, written in announced]
    async with engine.begin() as connection:
        await connection.exec_driver_sql("set local synchronous_commit = off")
        if announced:
            await connection.exec_driver_sql(_ANNOUNCED, (ids, positions))
        if applied is not None:
            await move_positions(connection, *applied)


@asynccontextmanager
async def sweeping(engine: AsyncEngine) -> AsyncIterator[bool]:
    """Whether this process may sweep now: one at a time does, whichever comes first."""
    async with engine.begin() as connection:
        yield bool((await fetch(connection, "select pg_try_advisory_xact_lock($1::bigint)", (_SWEEPER_LOCK,)))[0][0])


async def stale(engine: AsyncEngine, older_than: timedelta) -> list[uuid.UUID]:
    """Batches that were committed that long ago and never announced, oldest first, at most twenty."""
    async with engine.connect() as connection:
        return [row[0] for row in await fetch(connection, _STALE, (older_than,))]
