"""What one connection can do at best: the statements alone, their parameters ready before the clock starts.

Each batch is a durable transaction of its own. The statements are prepared, and their answers are fetched.
"""

import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any, Final, Protocol

import asyncpg

from benchmarks.ground import SESSIONS_EACH, subject

SIZES: Final = (500, 1_000)
"""The batches that are tried; the better one counts."""

_END: Final = """
update sessions s set ended_at = $4, ended_by = n.id
from unnest($1::text[], $2::uuid[]) as n(subject, id)
where s.tenant = $3 and s.subject = n.subject and s.ended_at is null
returning n.id, s.session_id, s.client_id, s.expires_at"""

_STORE: Final = """
insert into revocations (
    batch_id, committed_at, tenant, subject, id, session_ids, token_id, client_id, not_before, keep, keep_clients,
    covers_until, cause, initiator, reason_user, reason_admin, source, event_id, requested_at, enforced, redundant,
    sessions_ended, tokens_ended)
select $5, $6, $4, n.subject, n.id, null, null, null, n.at, '{}', '{}', n.at + interval '30 days', 'password-changed',
    'user', '{"en":"Your password was changed"}', null, 'bench', n.event_id, n.at, true, false, 4, 0
from unnest($1::text[], $2::uuid[], $3::text[], $7::timestamptz[]) as n(subject, id, event_id, at)"""

_REGISTER: Final = """
insert into sessions (tenant, subject, session_id, client_id, established_at, registered_at, expires_at, device_id,
    device_name, ip, key_id, labels)
select $1, n.subject, n.session_id, 'web', n.at, $2, n.at + interval '30 days', n.device_id, n.device_name, n.ip::inet,
    null, '{}'
from unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::text[])
    as n(subject, session_id, at, device_id, device_name, ip)"""


class Bare(Protocol):
    """One side of a ratio."""

    async def run(self, connection: asyncpg.Connection) -> float:
        """Does it all. Returns the seconds it took."""
        ...


class Revoking:
    """The batch UPDATE … RETURNING plus the insert of the events, `size` events a commit."""

    def __init__(self, tenant: str, count: int, size: int) -> None:
        self._tenant = tenant
        self._now = datetime.now(UTC)
        self._batches = [self._batch(numbers) for numbers in _batches(count, size)]

    def _batch(self, numbers: Sequence[int]) -> tuple[list[Any], ...]:
        rows = sorted((subject(self._tenant, number), uuid.uuid4(), f"{self._tenant}-{number}") for number in numbers)
        return *_columns(rows), [self._now + timedelta(microseconds=number) for number in numbers]

    async def run(self, connection: asyncpg.Connection) -> float:
        """Ends the sessions and stores why."""
        end, store = await connection.prepare(_END), await connection.prepare(_STORE)
        began = time.monotonic()
        for subjects, ids, events, times in self._batches:
            async with connection.transaction():
                await end.fetch(subjects, ids, self._tenant, self._now)
                await store.fetch(subjects, ids, events, self._tenant, uuid.uuid4(), self._now, times)
        return time.monotonic() - began


class Registering:
    """The batch INSERT of sessions, `size` a commit."""

    def __init__(self, tenant: str, count: int, size: int) -> None:
        self._tenant = tenant
        self._now = datetime.now(UTC)
        self._subjects = -(-count // SESSIONS_EACH)
        self._batches = [self._batch(numbers) for numbers in _batches(count, size)]

    def _batch(self, numbers: Sequence[int]) -> list[list[Any]]:
        rows = [
            (
                subject(self._tenant, number % self._subjects),
                md5(f"{self._tenant}/{number}".encode(), usedforsecurity=False).hexdigest(),
                self._now,
                md5(f"device/{number}".encode(), usedforsecurity=False).hexdigest(),
                "Firefox on Linux",
                "203.0.113.9",
            )
            for number in numbers
        ]
        return _columns(sorted(rows))

    async def run(self, connection: asyncpg.Connection) -> float:
        """Inserts the sessions."""
        register = await connection.prepare(_REGISTER)
        began = time.monotonic()
        for columns in self._batches:
            async with connection.transaction():
                await register.fetch(self._tenant, self._now, *columns)
        return time.monotonic() - began


def _batches(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
