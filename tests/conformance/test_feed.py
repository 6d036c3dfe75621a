"""One suite for every way to the notifications: Kafka, the Redis projection's stream, the service's HTTP feed.

Each runs as gateways run it, with the real service in between: the denylist's consumers for Redis, the API for HTTP.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from revoker.core.claims import SessionClaims
from revoker.core.verdicts import Revocation
from revoker.gateway.feeds import Feed
from revoker.gateway.gateway import Gateway
from revoker.gateway.health import Stale
from revoker.gateway.settings import Settings as GatewaySettings
from revoker.gateway.wiring import feed_of
from revoker.settings import AuthSettings
from tests import feeding, servers
from tests.denylist import member
from tests.feeding import Topics, until_health
from tests.integration.sse import Feed as Writing
from tests.integration.sse import serving
from tests.issuer import AUDIENCE, ISSUER

BEFORE = time.time() - 600


@dataclass
class World:
    """A feed of one kind, and where to write for it."""

    topics: Topics
    way: Mapping[str, Any] = field(default_factory=dict)

    def gateway(self, **given: Any) -> Gateway:
        return Gateway("chat", **{**self.way, "mode": "strict", "receipts": False} | given)

    def feed(self) -> Feed:
        return feed_of(GatewaySettings(name="chat", **self.way))


@pytest.fixture(params=["kafka", "redis", "http"])
async def world(
    request: pytest.FixtureRequest, kafka_bootstrap: str, redis_url: str, topic_prefix: str
) -> AsyncIterator[World]:
    settings = servers.make_settings(
        kafka_bootstrap_servers=kafka_bootstrap,
        redis_url=redis_url,
        topic_prefix=topic_prefix,
        auth=AuthSettings(issuer=ISSUER, audience=AUDIENCE),
    )
    async with AsyncExitStack() as stack:
        topics = await stack.enter_async_context(feeding.topics(kafka_bootstrap, topic_prefix))
        await topics.create(2)
        await topics.beat("e1")
        match request.param:
            case "kafka":
                yield World(topics, {"bootstrap_servers": kafka_bootstrap, "topic_prefix": topic_prefix})
            case "redis":
                await stack.enter_async_context(feeding.leaving(member(settings)))
                yield World(topics, {"redis_url": redis_url})
            case _:
                writing = Writing(settings, topics._producer)
                service = await stack.enter_async_context(serving(settings, writing))
                yield World(topics, {"feed_url": service.url, "feed_token": service.token})


def someone(subject: str = "alice") -> SessionClaims:
    return SessionClaims(subject=subject, session_id=f"of-{subject}", established_at=BEFORE)


class Heard:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.epochs: list[str] = []
        self.values: list[bytes | None] = []
        self.places: dict[int, int] = {}
        self.moments: list[float] = []

    def epoch(self, name: str) -> None:
        self.epochs.append(name)
        self.places.clear()

    def begin(self, place: int, offset: int) -> None:
        self.places[place] = offset

    async def records(self, place: int, records: Sequence[tuple[int, bytes | None]], following: int) -> None:
        self.values += [value for _, value in records]
        self.places[place] = following

    async def record(self, value: bytes, floors: Mapping[int, int], following: Mapping[int, int]) -> None:
        assert all(floors[place] < offset for place, offset in following.items())
        self.values.append(value)
        self.places |= following

    def current(self, as_of: float) -> None:
        self.moments.append(as_of)

    def lost(self, why: str) -> None:
        del why

    def trouble(self, why: str) -> None:
        del why

    def heard(self, at: float) -> None:
        assert abs(at - time.time()) < 60

    def expect(self, total: int) -> None:
        del total


@asynccontextmanager
async def running(feed: Feed) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(feed.run(heard))
    try:
        yield heard
    finally:
        await feeding.ended(task)


async def test_all_that_was_is_applied_before_anybody_passes(world: World) -> None:
    await world.topics.end(feeding.notice("alice"), feeding.notice("bob"))
    await world.topics.end(feeding.notice("carol"), partition=1)
    strict = world.gateway()
    assert isinstance(strict.check(someone("dave")), Stale)

    async with strict:
        await feeding.until(lambda: strict.check(someone("dave")) is None)

        assert all(isinstance(strict.find(someone(name)), Revocation) for name in ("alice", "bob", "carol"))
        await until_health(strict.health, lambda health: health.position == "e1.2.1")


async def test_what_comes_is_applied_and_cuts(world: World) -> None:
    cut: list[object] = []
    async with world.gateway() as chat:
        await chat.ready(feeding.SECONDS)
        chat.connections.add(someone("alice"), cut.append)
        value = feeding.notice("alice")
        await world.topics.end(value, partition=1)
        await feeding.until(lambda: cut)

        assert isinstance(cut[0], Revocation)
        assert cut[0].id == feeding.revocation_of(value)
        await until_health(chat.health, lambda health: health.position == "e1.0.1")


async def test_whoever_was_away_goes_on_where_he_was(world: World) -> None:
    first, meanwhile, after = (
        [feeding.notice(f"{name}-{number}") for number in range(3)] for name in ("first", "meanwhile", "after")
    )
    await world.topics.end(*first)
    feed = world.feed()
    async with running(feed) as heard:
        await feeding.until(lambda: heard.moments)
    assert heard.values == first
    assert heard.epochs == ["e1"]

    await world.topics.end(*meanwhile)
    async with running(feed) as heard:
        await feeding.until(lambda: len(heard.values) >= 3)
        await world.topics.end(*after)
        await feeding.until(lambda: len(heard.values) >= 6 and heard.moments)

    assert heard.values == meanwhile + after
    assert heard.epochs == []
    assert heard.places[0] == 9


async def test_junk_stops_nobody_and_the_position_passes_it(world: World) -> None:
    await world.topics.end(b"\xff{", b'{"type":"session-ended"}', feeding.notice("alice"), b"[]")

    async with world.gateway() as chat:
        await until_health(chat.health, lambda health: health.synced and health.position == "e1.4.0")

        assert isinstance(chat.find(someone("alice")), Revocation)
        assert chat.check(someone("bob")) is None


async def test_another_epoch_is_read_again_and_nothing_is_forgotten(world: World) -> None:
    await world.topics.end(feeding.notice("alice"))
    async with world.gateway() as chat:
        await until_health(chat.health, lambda health: health.synced and health.position == "e1.1.0")
        await world.topics.beat("e2")
        await until_health(chat.health, lambda health: health.synced and health.position == "e2.1.0")
        await world.topics.end(feeding.notice("bob"))
        await until_health(chat.health, lambda health: health.position == "e2.2.0")

        assert isinstance(chat.find(someone("alice")), Revocation)
        assert isinstance(chat.find(someone("bob")), Revocation)


@pytest.mark.parametrize("world", ["http"], indirect=True)
async def test_over_http_alone_a_gateway_is_known_all_the_same(world: World) -> None:
    async with world.gateway(receipts=True) as strict:
        await strict.ready(feeding.SECONDS)
        assert strict.check(someone("bob")) is None
    receipts = await world.topics.told(lambda told: any(receipt["state"] == "stopped" for receipt in told))

    assert receipts[0]["state"] == "replaying"
    assert receipts[-1]["position"] == "e1.0.0"
    assert strict.health().receipts is None


@pytest.mark.parametrize("world", ["http"], indirect=True)
async def test_a_token_that_the_service_refuses_is_told_in_health(world: World) -> None:
    async with world.gateway(receipts=True, feed_token="wrong") as refused:
        health = await until_health(refused.health, lambda health: "401" in (health.error or ""))
        assert not health.synced
        await until_health(refused.health, lambda health: "401" in (health.receipts or ""))


async def test_where_nothing_happens_the_view_stays_fresh(world: World) -> None:
    async with world.gateway() as idle:
        await idle.ready(feeding.SECONDS)
        started = time.monotonic()
        ages = []
        while time.monotonic() - started < 2.0:
            ages.append(idle.health().age)
            await asyncio.sleep(0.05)

    assert any(later < earlier for earlier, later in pairwise(ages)), "it only ever grew"
    assert max(ages) < idle.settings.max_staleness
    assert min(ages) > 0
