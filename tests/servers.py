"""The servers that tests use: those that the environment names, else Docker's, else embedded ones.

Nothing starts before a test asks for it. Everything here is synchronous and belongs to no event loop, so that what one
test starts serves the loops of all: coroutines run in a thread of their own.
"""

import asyncio
import gc
import os
import uuid
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar

import asyncpg
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import make_url

from revoker.embedded import EmbeddedKafka, EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from revoker.settings import KafkaSettings, Settings
from revoker.storage import database
from revoker.storage.migrate import migrate

T = TypeVar("T")
OURS_IN_REDIS: Final = ("revoker:*", "cached:*")


class Source(StrEnum):
    """Where a server comes from."""

    GIVEN = "given"
    DOCKER = "docker"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A server, by the setting that names one and the image that Docker is asked for."""

    title: str
    variable: str
    image: str

    @property
    def source(self) -> Source:
        if os.environ.get(self.variable):
            return Source.GIVEN
        return Source.DOCKER if docker_answers() else Source.EMBEDDED

    def __str__(self) -> str:
        return {
            Source.GIVEN: f"{self.title} as {self.variable} says",
            Source.DOCKER: f"{self.title} in Docker ({self.image})",
            Source.EMBEDDED: f"{self.title} embedded",
        }[self.source]


KAFKA: Final = Wanted("Kafka", "REVOKER_KAFKA_BOOTSTRAP_SERVERS", "apache/kafka:4.3.1")
POSTGRES: Final = Wanted("PostgreSQL", "REVOKER_DATABASE_URL", "postgres:18.6-alpine")
VALKEY: Final = Wanted("Valkey", "REVOKER_REDIS_URL", "valkey/valkey:9.1.2-alpine")


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, run to its end in an event loop of its own, whatever loop runs here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@cache
def docker_answers() -> bool:
    """Whether a Docker engine answers within two seconds."""
    # Its client leaves a socket open when there is none to talk to.
    with warnings.catch_warnings(action="ignore"):
        try:
            import docker  # type: ignore[import-untyped]  # noqa: PLC0415 - no stubs; slow, and only here

            client = docker.from_env(timeout=2)
        except Exception:  # noqa: BLE001 - whatever it is, there is no Docker for us
            return False
        else:
            try:
                return bool(client.ping())
            except Exception:  # noqa: BLE001 - as above
                return False
            finally:
                client.close()
        finally:
            gc.collect()


@contextmanager
def serving(wanted: Wanted) -> Iterator[str]:
    """The address of a server that runs until the end of the context."""
    match wanted.source:
        case Source.GIVEN:
            yield os.environ[wanted.variable]
        case Source.DOCKER:
            from tests import containers  # noqa: PLC0415 - slow, and only where there is Docker

            with containers.SERVING[wanted.title](wanted.image) as address:
                yield address
        case Source.EMBEDDED:
            server, address_of = _EMBEDDED[wanted]()
            in_thread(server.start())
            try:
                yield address_of()
            finally:
                in_thread(server.stop())


def make_settings(**given: Any) -> Settings:
    """Settings for one test machine: one copy of everything, and as few partitions as still are several."""
    for name in ("database_url", "redis_url"):
        if name in given:
            given[name] = SecretStr(given[name])
    return Settings(**{"kafka": KafkaSettings(partitions=3, replication=1)} | given)


def new_database(server_url: str, template: str | None = None) -> str:
    """The URL of a fresh database on that server, a copy of `template` where one is given."""
    name = f"revoker_test_{uuid.uuid4().hex[:12]}"
    in_thread(_execute(server_url, f'create database "{name}"' + (f' template "{template}"' if template else "")))
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


def drop_database(server_url: str, url: str) -> None:
    """Drops the database of `url`, even if somebody is still connected."""
    in_thread(_execute(server_url, f'drop database if exists "{make_url(url).database}" with (force)'))


def migrated(url: str) -> str:
    """`url`, once the schema there is the newest."""
    in_thread(_migrate(url))
    return url


def emptied(redis_url: str) -> str:
    """`redis_url`, once nothing of an earlier test is there. Of a server that is not ours only our keys are deleted."""
    with Redis.from_url(redis_url) as redis:
        if VALKEY.source is not Source.GIVEN:
            redis.flushall()
        for pattern in OURS_IN_REDIS:
            for key in redis.scan_iter(pattern):
                redis.delete(key)
    return redis_url


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    engine = database.reader(make_settings(database_url=url))
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


def _kafka() -> tuple[EmbeddedServer, Callable[[], str]]:
    server = EmbeddedKafka()
    return server, lambda: server.bootstrap_servers


def _postgres() -> tuple[EmbeddedServer, Callable[[], str]]:
    server = EmbeddedPostgres(fsync=False)
    return server, lambda: server.url


def _valkey() -> tuple[EmbeddedServer, Callable[[], str]]:
    server = EmbeddedValkey()
    return server, lambda: server.url


_EMBEDDED: Final = {KAFKA: _kafka, POSTGRES: _postgres, VALKEY: _valkey}
