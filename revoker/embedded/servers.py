"""The three servers together, started and stopped at the same time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from revoker.embedded.errors import NotRunningError
from revoker.embedded.kafka import NO_CONFIG, EmbeddedKafka
from revoker.embedded.postgres import EmbeddedPostgres
from revoker.embedded.server import EmbeddedServer, Progress
from revoker.embedded.valkey import EmbeddedValkey

_Server = TypeVar("_Server", bound=EmbeddedServer)


class EmbeddedServers:
    """An async context manager. With `data` every server keeps its files in a folder of its own below it."""

    def __init__(
        self,
        data: Path | None = None,
        *,
        kafka: bool = True,
        postgres: bool = True,
        valkey: bool = True,
        progress: Progress | None = None,
        kafka_config: Mapping[str, str] = NO_CONFIG,
        fsync: bool = True,
        start_seconds: float = 60.0,
    ) -> None:
        def folder(name: str) -> Path | None:
            return None if data is None else data / name

        self._kafka = (
            EmbeddedKafka(folder("kafka"), config=kafka_config, progress=progress, start_seconds=start_seconds)
            if kafka
            else None
        )
        self._postgres = (
            EmbeddedPostgres(folder("postgres"), fsync=fsync, progress=progress, start_seconds=start_seconds)
            if postgres
            else None
        )
        self._valkey = (
            EmbeddedValkey(folder("valkey"), progress=progress, start_seconds=start_seconds) if valkey else None
        )

    @property
    def kafka(self) -> EmbeddedKafka:
        return _wanted(self._kafka, "Kafka")

    @property
    def postgres(self) -> EmbeddedPostgres:
        return _wanted(self._postgres, "PostgreSQL")

    @property
    def valkey(self) -> EmbeddedValkey:
        return _wanted(self._valkey, "Valkey")

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        return self.valkey.url

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start all. If one fails, or the task is cancelled, all are stopped again."""
        try:
            async with asyncio.TaskGroup() as group:
                for server in self._all():
                    group.create_task(server.start())
        except BaseExceptionGroup as failures:
            await self.stop()
            raise failures.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all. Safe to call at any time, and twice."""
        await asyncio.gather(*(server.stop() for server in self._all()))

    def _all(self) -> list[EmbeddedServer]:
        return [server for server in (self._kafka, self._postgres, self._valkey) if server is not None]


def _wanted(server: _Server | None, title: str) -> _Server:
    if server is None:
        raise NotRunningError(f"{title} was not asked for")
    return server
