"""Fixtures. The session's servers start with the first test that asks for one; unit tests start nothing."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.embedded import EmbeddedKafka, EmbeddedPostgres, EmbeddedValkey
from revoker.settings import Settings
from revoker.storage import database
from tests import servers

# Deadlines are about machines, not about us.
hypothesis_settings.register_profile(
    "revoker", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("revoker")


def pytest_configure() -> None:
    """What is set in the developer's own revoker.toml is none of the tests' business, nor how wide a terminal is."""
    os.environ["REVOKER_CONFIG"] = os.devnull
    os.environ.pop("COLUMNS", None)


def pytest_report_header() -> list[str]:
    return [f"servers, where a test wants one: {servers.KAFKA}; {servers.POSTGRES}; {servers.VALKEY}"]


@pytest.fixture(scope="session")
def session_kafka() -> Iterator[str]:
    """The bootstrap servers of the Kafka that all tests share: name your topics by `topic_prefix`."""
    with servers.serving(servers.KAFKA) as address:
        yield address


@pytest.fixture(scope="session")
def session_postgres() -> Iterator[str]:
    """The URL of the PostgreSQL that all tests share; `database_url` is a database of one's own there."""
    with servers.serving(servers.POSTGRES) as url:
        yield url


@pytest.fixture(scope="session")
def session_valkey() -> Iterator[str]:
    """The URL of the Valkey (or Redis) that all tests share; `redis_url` is the same, emptied."""
    with servers.serving(servers.VALKEY) as url:
        yield url


@pytest.fixture(scope="session")
def template_database(session_postgres: str) -> Iterator[str]:
    """The name of a migrated database, to be copied. Nobody may stay connected to it."""
    url = servers.new_database(session_postgres)
    yield make_url(servers.migrated(url)).database or ""
    servers.drop_database(session_postgres, url)


@pytest.fixture
def database_url(session_postgres: str, template_database: str) -> Iterator[str]:
    """A migrated database of this test's own, dropped afterwards."""
    url = servers.new_database(session_postgres, template_database)
    yield url
    servers.drop_database(session_postgres, url)


@pytest.fixture
def empty_database_url(session_postgres: str) -> Iterator[str]:
    """A database of this test's own without our schema, dropped afterwards."""
    url = servers.new_database(session_postgres)
    yield url
    servers.drop_database(session_postgres, url)


@pytest.fixture
def kafka_bootstrap(session_kafka: str) -> str:
    """Kafka, host:port[,host:port]."""
    return session_kafka


@pytest.fixture
def redis_url(session_valkey: str) -> str:
    """An emptied Valkey or Redis."""
    return servers.emptied(session_valkey)


@pytest.fixture
def topic_prefix() -> str:
    """Before the names of this test's topics."""
    return f"test-{uuid.uuid4().hex[:12]}-"


@pytest.fixture
def settings(kafka_bootstrap: str, database_url: str, redis_url: str, topic_prefix: str) -> Settings:
    """Settings of the whole service, with all three servers running."""
    return servers.make_settings(
        kafka_bootstrap_servers=kafka_bootstrap,
        database_url=database_url,
        redis_url=redis_url,
        topic_prefix=topic_prefix,
    )


@pytest.fixture
def database_settings(database_url: str, topic_prefix: str) -> Settings:
    """Settings of what needs nothing but PostgreSQL."""
    return servers.make_settings(database_url=database_url, topic_prefix=topic_prefix)


@pytest.fixture
async def engine(database_settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The engine of batches, on this test's database."""
    writer = database.writer(database_settings)
    yield writer
    await writer.dispose()


@pytest.fixture
async def reader(database_settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The engine of people's commands, on this test's database."""
    readers = database.reader(database_settings)
    yield readers
    await readers.dispose()


@pytest.fixture
async def own_kafka() -> AsyncIterator[EmbeddedKafka]:
    """A Kafka of this test's own, to be killed, paused and restarted."""
    async with EmbeddedKafka() as kafka:
        yield kafka


@pytest.fixture
async def own_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL of this test's own, migrated, to be killed, paused and restarted."""
    async with EmbeddedPostgres(fsync=False) as postgres:
        servers.migrated(postgres.url)
        yield postgres


@pytest.fixture
async def own_valkey() -> AsyncIterator[EmbeddedValkey]:
    """A Valkey of this test's own, to be killed, paused, emptied and restarted."""
    async with EmbeddedValkey() as valkey:
        yield valkey
