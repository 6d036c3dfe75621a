"""The service as it is run: the real command, its own time-outs, whatever servers the tests have."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from revoker.service import topics
from revoker.settings import KafkaSettings, LimitSettings
from tests import servers
from tests.faults.history import Service


@pytest.fixture
async def service(
    kafka_bootstrap: str, database_url: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Service]:
    """A world with topics and a database, and no process yet."""
    settings = servers.make_settings(
        kafka_bootstrap_servers=kafka_bootstrap,
        database_url=database_url,
        redis_url=redis_url,
        topic_prefix=topic_prefix,
        kafka=KafkaSettings(partitions=4, replication=1),
        # Small batches: so that there is a middle to be killed in.
        limits=LimitSettings(chunk=25, batch=100),
    )
    await topics.ensure(settings)
    world = Service(settings, 0, tmp_path)
    try:
        yield world
    finally:
        await world.close()
