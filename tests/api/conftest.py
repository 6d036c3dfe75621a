"""The application, once with the database alone and once with Kafka besides."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.settings import Settings
from revoker.storage import database
from tests.api.serving import Served, serving, with_topics


@pytest.fixture
async def served(database_settings: Settings) -> AsyncIterator[Served]:
    """Without Kafka: to read and to be refused."""
    async with serving(database_settings) as made:
        yield made


@pytest.fixture
async def publishing(settings: Settings) -> AsyncIterator[Served]:
    """With all that it needs."""
    async with serving(await with_topics(settings)) as made:
        yield made


@pytest.fixture
async def writer(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The engine of batches, on the database of `publishing`."""
    engine = database.writer(settings)
    yield engine
    await engine.dispose()
