"""What fault tests share: a Kafka that notices a dead member within a second, a nursery, and a world of one's own."""

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from revoker.embedded import EmbeddedKafka
from revoker.service import topics
from revoker.settings import KafkaSettings, LimitSettings
from tests import servers
from tests.faults.history import Service
from tests.processes import Nursery

NOWHERE = "redis://127.0.0.1:1/0"
"""No promise here needs Redis."""


Found = Callable[..., Awaitable[Service]]
"""Makes a world; settings may be given."""


@pytest.fixture(scope="session")
def quick_kafka() -> Iterator[str]:
    """The bootstrap servers of a Kafka that allows session time-outs below six seconds."""
    kafka = EmbeddedKafka(config={"group.min.session.timeout.ms": "100"})
    servers.in_thread(kafka.start())
    try:
        yield kafka.bootstrap_servers
    finally:
        servers.in_thread(kafka.stop())


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where consumers are born."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of this run's chances; `REVOKER_TEST_SEED` repeats one."""
    chosen = int(os.environ.get("REVOKER_TEST_SEED") or secrets.randbits(32))
    request.node.add_report_section("setup", "seed", f"REVOKER_TEST_SEED={chosen}")
    return chosen


@pytest.fixture
async def found(
    *,
    quick_kafka: str,
    session_postgres: str,
    template_database: str,
    topic_prefix: str,
    nursery: Nursery,
    seed: int,
    tmp_path: Path,
) -> AsyncIterator[Found]:
    """Makes worlds with topics and a database, and no process yet."""
    worlds: list[Service] = []
    databases: list[str] = []

    async def make(**given: Any) -> Service:
        number = len(worlds)
        if "database_url" not in given:
            databases.append(servers.new_database(session_postgres, template_database))
            given["database_url"] = databases[-1]
        folder = tmp_path / f"world-{number}"
        folder.mkdir()
        settings = servers.make_settings(
            **{
                "kafka_bootstrap_servers": quick_kafka,
                "redis_url": NOWHERE,
                "topic_prefix": f"{topic_prefix}{number}-",
                "kafka": KafkaSettings(partitions=4, replication=1),
                "limits": LimitSettings(chunk=20, batch=100),
            }
            | given
        )
        await topics.ensure(settings)
        worlds.append(Service(settings, seed + number, folder, nursery))
        return worlds[-1]

    try:
        yield make
    finally:
        for world in worlds:
            await world.close()
        for url in databases:
            servers.drop_database(session_postgres, url)


@pytest.fixture
async def service(found: Found) -> Service:
    """A world of one's own."""
    return await found()
