"""A revocation is enforced once the origin has taken it, and what the origin then reports ends nothing again."""

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.enforcement import Doubt, Proof
from revoker.service import gateways, topics
from revoker.service.gateways import Enforcement, Stage
from revoker.settings import Settings
from revoker.storage import database, reading
from revoker.storage.reading import RevocationFound
from schemas.topics import Topic
from tests.origins import SECRET, Delivery, Reply, Server, serving
from tests.processes import Process, environment, eventually, spawn


class LoginService:
    """Ends sessions when it is told to, and says so on Kafka, as identity providers do."""

    def __init__(self) -> None:
        self.is_away = True
        self.ended: list[str] = []

    def __call__(self, asked: Delivery) -> Reply:
        if self.is_away:
            return Reply(503)
        self.ended += [one["session_id"] for one in asked.event["data"]["sessions"]]
        return Reply()


class World:
    """The consumers, and what is asked of the database and of Kafka."""

    def __init__(self, settings: Settings, engine: AsyncEngine, producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self.engine = engine
        self._producer = producer

    async def say(self, topic: Topic, type_: str, **data: Any) -> None:
        """An event of alice's."""
        event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "login", "type": type_, "subject": "alice"}
        value = json.dumps(event | {"data": data}).encode()
        await self._producer.send_and_wait(self.settings.topic(topic), value, key=b"alice")

    async def revocations(self) -> list[RevocationFound]:
        return await reading.newest_of(self.engine, tenant="", subject="alice", limit=10)

    async def enforcement(self) -> Enforcement | None:
        """Of the first revocation."""
        found = await self.revocations()
        return await gateways.enforcement_of(self.engine, self.settings, found[-1]) if found else None

    async def announced(self) -> int:
        """How many records there are on `session-ended`."""
        async with AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap_servers) as consumer:
            topic = self.settings.topic(Topic.SESSION_ENDED)
            places = [TopicPartition(topic, number) for number in range(self.settings.kafka.partitions)]
            return sum((await consumer.end_offsets(places)).values())


@pytest.fixture
def login() -> LoginService:
    return LoginService()


@pytest.fixture
def hook(login: LoginService) -> Iterator[Server]:
    """Where the login service listens."""
    with serving(login) as server:
        yield server


@pytest.fixture
async def consumers(settings: Settings, hook: Server, tmp_path: Path) -> AsyncIterator[Process]:
    """All consumers in one process."""
    origin = {"name": "login", "kind": "webhook", "url": hook.url, "secret": SECRET}
    await topics.ensure(settings)
    process = spawn(
        tmp_path / "consumers.log", environment(settings, REVOKER_ORIGINS=json.dumps([origin])), "consumers"
    )
    try:
        await process.until("service-started", 90)
        yield process
        process.signal(signal.SIGTERM)
        assert await process.gone() == 0
    finally:
        process.kill()


@pytest.fixture
async def world(settings: Settings, consumers: Process) -> AsyncIterator[World]:
    """With the consumers at work."""
    assert consumers.code is None
    engine = database.reader(settings)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers) as producer:
        yield World(settings, engine, producer)
    await engine.dispose()


async def test_enforced_waits_for_the_origin_and_its_echo_ends_nothing(world: World, login: LoginService) -> None:
    await world.say(Topic.SESSION_ACTIVITY, "session-established", session_id="s-1")

    async def registered() -> bool:
        return bool(await reading.live_named(world.engine, "s-1", lifetime=world.settings.sessions.lifetime))

    await eventually(registered, "the session")
    await world.say(Topic.IDENTITY_EVENTS, "password-changed")

    seen: list[Any] = []

    async def waits() -> bool:
        """The denylist, which reports too, is past it by itself."""
        enforcement = await world.enforcement()
        how = {one.gateway: one.how for one in enforcement.instances} if enforcement else {}
        seen.append((enforcement and enforcement.stage, how))
        return how == {"login": Doubt.BEHIND, "redis": Proof.PAST}

    await eventually(waits, lambda: f"the origin to be waited for: {seen[-1:]}", 60)
    login.is_away = False

    async def enforced() -> bool:
        enforcement = await world.enforcement()
        return enforcement is not None and enforcement.stage is Stage.ENFORCED

    await eventually(enforced, "the proof")
    assert login.ended == ["s-1"]
    told = await world.announced()

    # What it did there comes back as an event.
    await world.say(Topic.IDENTITY_EVENTS, "logged-out", session_id="s-1")

    async def heard() -> bool:
        return len(await world.revocations()) == 2

    await eventually(heard, "the echo to be recorded")
    echo, first = await world.revocations()
    assert (echo.redundant, echo.sessions_ended) == (True, 0)
    assert (first.redundant, first.sessions_ended) == (False, 1)
    await asyncio.sleep(0.5)
    assert await world.announced() == told == 1
    assert login.ended == ["s-1"]
