"""Kafka and PostgreSQL for people's commands: opened, closed, and their failures said as errors of ours.

Where both are open, PostgreSQL is the outer one: what it raises passes through the inner context untouched.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.errors import ConfigurationError, UnavailableError
from revoker.kafka import client_options, producer_options
from revoker.settings import Settings
from revoker.storage import database
from revoker.storage.database import Fault, fault_of, sqlstate

_UNAUTHORIZED: Final = (ClusterAuthorizationFailedError, TopicAuthorizationFailedError)
_STOP_SECONDS: Final = 3.0
_MAX_REQUEST_BYTES: Final = 12_000_000
"""What a broker of others may have taken, and we set aside, must fit when it is sent once more."""

# What PostgreSQL says of a server or schema that is not as it should be (appendix A).
_WRONG: Final = {
    "28": "PostgreSQL refuses these credentials (database_url)",
    "3D000": "there is no database of that name (database_url)",
    "3F000": "the database is not migrated: run `revoker migrate`",
    "42501": "the role of database_url may not do this in PostgreSQL",
    "42703": "the database is not migrated: run `revoker migrate`",
    "42P01": "the database is not migrated: run `revoker migrate`",
}


@asynccontextmanager
async def postgres(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine for people's statements. Raises `UnavailableError` or `ConfigurationError`."""
    opened = engine(settings)
    with database_errors(settings):
        try:
            yield opened
        finally:
            await opened.dispose()


def engine(settings: Settings) -> AsyncEngine:
    """The same for whoever closes it. Connects when it is used. Raises `ConfigurationError`."""
    with database_errors(settings):
        return database.reader(settings)


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Raises as all of these do: `UnavailableError` or `ConfigurationError`."""
    with kafka_errors(settings):
        client = AIOKafkaAdminClient(**client_options(settings))
        try:
            async with asyncio.timeout(settings.limits.publish_timeout.total_seconds()):
                await client.start()
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer that awaits every in-sync replica."""
    with kafka_errors(settings):
        async with _running(
            AIOKafkaProducer(**producer_options(settings), max_request_size=_MAX_REQUEST_BYTES), settings
        ) as client:
            yield client


@asynccontextmanager
async def consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group: it leaves no trace at the broker."""
    options: dict[str, Any] = {"group_id": None, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
    with kafka_errors(settings):
        async with _running(AIOKafkaConsumer(**client_options(settings), **options), settings) as client:
            yield client


@asynccontextmanager
async def _running(client: Any, settings: Settings) -> AsyncIterator[Any]:  # noqa: ANN401 - aiokafka is untyped
    try:
        async with asyncio.timeout(settings.limits.publish_timeout.total_seconds()):
            await client.start()
        yield client
    finally:
        # With a batch pending and no broker, its own stop would wait without end.
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await client.stop()


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """Kafka's own failures inside as ours."""
    where = f"Kafka at {settings.kafka_bootstrap_servers}"
    try:
        yield
    except _UNAUTHORIZED as error:
        raise ConfigurationError(f"{where} does not allow this: see `revoker topics --print-acls`") from error
    except UnknownTopicOrPartitionError as error:
        raise ConfigurationError(f"{where} lacks a topic: see `revoker topics`, and `--create`") from error
    except (KafkaError, TimeoutError) as error:
        raise UnavailableError(f"{where} cannot be reached ({type(error).__name__})") from error
    except (ValueError, FileNotFoundError) as error:
        raise ConfigurationError(f"the settings of Kafka are wrong ({error})") from error


@contextmanager
def database_errors(settings: Settings) -> Iterator[None]:
    """PostgreSQL's own failures inside as ours."""
    try:
        yield
    except ArgumentError as error:
        raise ConfigurationError("database_url is no URL of a PostgreSQL") from error
    except DBAPIError as error:
        state = sqlstate(error)
        wrong = _WRONG.get(state) or _WRONG.get(state[:2])
        if wrong:
            raise ConfigurationError(wrong) from error
        if fault_of(error) is Fault.CONTENDED:
            raise UnavailableError("PostgreSQL is busy with the same rows, or too slow: try again") from error
        if fault_of(error) is Fault.PASSING:
            raise UnavailableError(f"{_where(settings)} cannot be used now ({state or 'connection lost'})") from error
        raise
    except PoolTimeoutError as error:
        raise UnavailableError("PostgreSQL is too slow for all who ask") from error
    except (ConnectionError, TimeoutError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UnavailableError(f"{_where(settings)} cannot be reached ({type(error).__name__})") from error


def _where(settings: Settings) -> str:
    url = make_url(settings.database_url.get_secret_value())
    return f"PostgreSQL at {url.host or 'the local socket'}" + (f":{url.port}" if url.port else "")
