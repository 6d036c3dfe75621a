"""The ground on which all sides stand: one set of real servers, one database, one set of topics, rows laid out alike.

PostgreSQL runs with fsync, as in the demo. Autovacuum is off for the tables in question, since it would strike one side
or the other at random: instead all of a round begin with tables that were just vacuumed and analysed, and each side
right behind a checkpoint. The tables hold a history, as they do in service, unless `fresh` is asked for.

Sessions lie in the heap in random order, as they do where they were established over weeks, and events come in another
random order.
"""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.kafka import Kafka
from revoker.embedded import EmbeddedServers
from revoker.service.topics import ensure
from revoker.settings import Settings
from revoker.storage.database import reader, writer
from revoker.storage.migrate import migrate

ROOT: Final = Path(__file__).parents[1]
"""Where modules of ours are found."""

PARTITIONS: Final = 4
SESSIONS_EACH: Final = 4

_HISTORY: Final = "history"
_TABLES: Final = ("sessions", "tokens", "revocations", "batches")

_SESSIONS: Final = """
insert into sessions (tenant, subject, session_id, client_id, established_at, registered_at, expires_at, device_id,
    device_name, ip)
select $1, md5($1 || '/' || i)::uuid::text, md5($1 || '/' || i || '/' || k), 'web', at, at, at + interval '30 days',
    md5('device/' || i || '/' || k), 'Firefox on Linux', '203.0.113.9'
from generate_series(0, $2::int - 1) as i, generate_series(1, $3::int) as k,
    lateral (select now() - make_interval(secs => 60 + (i * 7919::bigint + k * 104729) % 1000000) as at) as t
order by md5(i || '-' || k)"""

_REVOCATIONS: Final = """
with batch as (
    insert into batches (id, lane, committed_at, announced_at, positions)
    select md5($1 || '/batch/' || b)::uuid, 'revocation', now() - make_interval(secs => 60 + b), now(), '{}'
    from generate_series(0, $2::int / 500) as b
)
insert into revocations (tenant, subject, id, not_before, covers_until, cause, initiator, reason_user, source, event_id,
    requested_at, committed_at, batch_id, sessions_ended)
select $1, md5($1 || '/' || i)::uuid::text, md5('id/' || i)::uuid, at, at + interval '30 days', 'password-changed',
    'user', '{"en":"Your password was changed"}', 'bench', $1 || '-' || i, at, at,
    md5($1 || '/batch/' || i / 500)::uuid, 4
from generate_series(0, $2::int - 1) as i, lateral (select now() - make_interval(secs => 60 + i / 500) as at) as t
order by i / 500 desc, md5(i::text)"""


@dataclass(frozen=True, slots=True)
class Ground:
    """The servers, and ways to them. `sql` is a connection for everything that is not measured."""

    servers: EmbeddedServers
    settings: Settings
    kafka: Kafka
    sql: asyncpg.Connection

    def environment(self) -> dict[str, str]:
        """What tells another process of ours where everything is."""
        return os.environ | {
            "REVOKER_CONFIG": os.devnull,
            "REVOKER_KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka_bootstrap_servers,
            "REVOKER_DATABASE_URL": self.servers.database_url,
            "REVOKER_REDIS_URL": self.servers.redis_url,
            "REVOKER_KAFKA__PARTITIONS": str(PARTITIONS),
            "REVOKER_KAFKA__REPLICATION": "1",
            "REVOKER_LOG_FORMAT": "text",
            "REVOKER_LOG_LEVEL": "warning",
        }

    async def clear(self, history: int) -> None:
        """Empties the tables but for `history` subjects that are over. What was read of Kafka stays read."""
        await self.sql.execute(f"truncate {', '.join(_TABLES)}")
        if history:
            await self.seed(_HISTORY, history)
            await self.sql.execute(_REVOCATIONS, _HISTORY, history)

    async def seed(self, tenant: str, subjects: int) -> None:
        """Four live sessions for each of `subjects` subjects."""
        await self.sql.execute(_SESSIONS, tenant, subjects, SESSIONS_EACH)

    async def settle(self) -> None:
        """Makes rows that were just written look as if they had been there for long."""
        await self.sql.execute(f"vacuum (analyze) {', '.join(_TABLES)}")

    async def checkpoint(self) -> None:
        """All sides pay the same for the pages that they touch first after it."""
        await self.sql.execute("checkpoint")


def subject(tenant: str, number: int) -> str:
    """The subject that `Ground.seed` made as number `number` of `tenant`."""
    return str(uuid.UUID(hashlib.md5(f"{tenant}/{number}".encode(), usedforsecurity=False).hexdigest()))


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Starts the servers, makes tables and topics, takes all down again."""
    async with EmbeddedServers() as servers:
        settings = _settings(servers)
        engine = reader(settings)
        await migrate(engine)
        await engine.dispose()
        await ensure(settings)
        sql = await asyncpg.connect(servers.postgres.dsn)
        try:
            for table in _TABLES:
                await sql.execute(f"alter table {table} set (autovacuum_enabled = off)")
            async with Kafka(settings) as kafka:
                yield Ground(servers, settings, kafka, sql)
        finally:
            await sql.close()


def _settings(servers: EmbeddedServers) -> Settings:
    return Settings.model_validate(
        {
            "kafka_bootstrap_servers": servers.kafka_bootstrap_servers,
            "database_url": servers.database_url,
            "redis_url": servers.redis_url,
            "kafka": {"partitions": PARTITIONS, "replication": 1},
        }
    )


@asynccontextmanager
async def bare_connection(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Plain asyncpg, on a connection with the very server settings under which the product's batches run."""
    engine = writer(settings)
    try:
        async with engine.connect() as connection:
            yield (await connection.get_raw_connection()).driver_connection
    finally:
        await engine.dispose()
