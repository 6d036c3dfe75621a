"""Sessions that are served although every gateway had reported that it refuses them."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.registration import Registering
from revoker.settings import Settings
from revoker.storage import sessions
from revoker.storage.sessions import Registered
from revoker.telemetry import Metrics
from schemas.fields import wire_time
from schemas.topics import Topic
from tests import factories
from tests.factories import after, established, presented
from tests.integration.cli_worker import environment, run
from tests.integration.test_enforcement import World
from tests.stored import MINUTE, register, rows


@pytest.fixture
async def world(engine: AsyncEngine, database_settings: Settings) -> World:
    """Alice signed in at two clients of one sign-in, and on another device, when a gateway was there already."""
    made = World(engine, database_settings)
    await made.begin()
    await made.say()
    await register(
        engine,
        established("s-1", client_id="web"),
        established("s-1", client_id="app"),
        established("s-2", client_id="web"),
    )
    await visits(engine, presented("s-2", client_id="web", ip="198.51.100.1", time=later(days=-1)))
    return made


async def ended(world: World, *, proven: bool = True) -> uuid.UUID:
    id_ = await world.announce()
    await world.say()
    if proven:
        await world.prove()
    return id_


async def visits(engine: AsyncEngine, *events: Any) -> Registered:
    chunk = factories.registration(*events, appended_at=later(days=1))
    return await sessions.register(engine, chunk, MINUTE, dict)


def later(**parts: float) -> datetime:
    return datetime.now(UTC) + timedelta(**parts)


async def last_seen(engine: AsyncEngine, session_id: str, client_id: str = "web") -> tuple[datetime | None, str | None]:
    [row] = await rows(
        engine,
        "select last_active_at, host(last_ip) from sessions where session_id = :id and client_id = :client",
        id=session_id,
        client=client_id,
    )
    return row[0], row[1]


async def test_a_visit_after_the_proof_contradicts_it(world: World, engine: AsyncEngine) -> None:
    id_ = await ended(world)
    at = later(seconds=30)

    [told] = (await visits(engine, presented("s-2", client_id="web", time=at, ip="203.0.113.9"))).served

    assert (told.revocation_id, told.session_id, told.client_id, told.source) == (id_, "s-2", "web", "login")
    assert timedelta(seconds=20) < told.after < timedelta(seconds=31)
    assert await last_seen(engine, "s-2") == (at, "203.0.113.9")


async def test_a_visit_before_the_proof_contradicts_nobody(world: World, engine: AsyncEngine) -> None:
    await ended(world, proven=False)
    at = later(seconds=1)

    told = await visits(engine, presented("s-2", client_id="web", time=at))
    await world.prove()
    early = await visits(engine, presented("s-1", client_id="web", time=later(seconds=-60)))

    assert (told.served, early.served) == ([], [])
    # The address that it had while it lived says nothing of afterwards.
    assert await last_seen(engine, "s-2") == (at, None)
    assert await last_seen(engine, "s-1") == (None, None)


async def test_it_is_told_of_once_a_minute_and_moves_no_expiry(world: World, engine: AsyncEngine) -> None:
    await ended(world)
    at = later(seconds=30)

    counts = [
        len((await visits(engine, presented("s-2", time=at + timedelta(seconds=s), expires_at=later(days=90)))).served)
        for s in (0, 1, 59, 61, 0)
    ]

    assert counts == [1, 0, 0, 1, 0]
    assert await rows(engine, "select expires_at from sessions where session_id = 's-2'") == [(None,)]


async def test_a_visit_of_no_client_may_be_of_the_part_that_lives(world: World, engine: AsyncEngine) -> None:
    new = factories.registration(
        established("s-1", client_id="tv", established_at=after(hours=1)), appended_at=after(days=1)
    )
    await sessions.register(engine, new, MINUTE, dict)
    await ended(world)

    unnamed = await visits(engine, presented("s-1", time=later(seconds=30)))
    named = await visits(engine, presented("s-1", client_id="app", time=later(seconds=30)))

    assert unnamed.served == []
    assert [(one.session_id, one.client_id) for one in named.served] == [("s-1", "app")]


async def test_who_was_born_ended_accuses_nobody(world: World, engine: AsyncEngine) -> None:
    await ended(world)
    await register(engine, established("s-9", client_id="web"))

    assert (await visits(engine, presented("s-9", client_id="web", time=later(seconds=30)))).served == []


async def test_consumers_log_and_count_it(
    world: World, engine: AsyncEngine, database_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = await ended(world)
    metrics = Metrics()
    registering = Registering(engine, database_settings, metrics)

    async def take(session_id: str, at: datetime) -> None:
        record = _record(database_settings, session_id, at)
        await registering.store([registering.read(record)], dict)  # type: ignore[list-item]  # nothing is ignored here

    await take("s-1", later(seconds=1))  # within the difference of clocks that is allowed for
    await take("s-2", later(seconds=30))

    lines: list[Any] = [record.msg for record in caplog.records if "dead-session-served" in record.getMessage()]
    assert [(line["revocation_id"], line["session_id"], line["client_id"]) for line in lines] == [
        (str(id_), "s-2", "web")
    ]
    assert (lines[0]["source"], lines[0]["level"]) == ("login", "error")
    assert metrics.registry.get_sample_value("revoker_dead_sessions_served_total") == 1


def _record(settings: Settings, session_id: str, at: datetime) -> ConsumerRecord[bytes, bytes]:
    envelope = {"specversion": "1.0", "type": "session-presented", "source": "login", "id": "1", "subject": "alice"}
    value = envelope | {"time": wire_time(at), "data": {"session_id": session_id, "client_id": "web"}}
    return ConsumerRecord(
        topic=settings.topic(Topic.SESSION_ACTIVITY),
        partition=0,
        offset=0,
        timestamp=int(later(days=1).timestamp() * 1000),
        timestamp_type=1,
        key=b"alice",
        value=json.dumps(value).encode(),
        checksum=None,
        serialized_key_size=5,
        serialized_value_size=1,
        headers=(),
    )


async def test_whoever_looks_at_the_revocation_sees_it(
    world: World, engine: AsyncEngine, database_settings: Settings
) -> None:
    id_ = str(await ended(world))
    env: Mapping[str, str] = environment(database_settings)
    before = await run(env, "revocations", id_)
    at = later(seconds=30)
    await visits(engine, presented("s-2", client_id="web", time=at, ip="203.0.113.9"))

    shown = await run(env, "revocations", id_)
    found = (await run(env, "revocations", id_, "--json")).json

    assert "contradicts" not in before.out
    assert "contradicts the receipts" in shown.out
    assert "s-2 at client web from 203.0.113.9, last " in shown.out
    assert found["enforcement"]["served_since"] == [
        {"session_id": "s-2", "client_id": "web", "at": wire_time(at), "ip": "203.0.113.9"}
    ]
