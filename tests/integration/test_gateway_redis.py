"""A gateway on the Redis projection, while Redis loses what it has."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from revoker.core.claims import SessionClaims
from revoker.core.verdicts import Revocation
from revoker.gateway.gateway import Gateway
from revoker.gateway.health import Stale
from tests import feeding, servers
from tests.denylist import member
from tests.feeding import Topics, until_health

BEFORE = time.time() - 600
STREAM = "revoker:session-ended"


@pytest.fixture
async def topics(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Topics]:
    async with feeding.topics(kafka_bootstrap, topic_prefix) as made:
        await made.create(2)
        await made.beat("e1")
        yield made


@pytest.fixture
async def settings(topics: Topics, redis_url: str) -> Any:
    return servers.make_settings(
        kafka_bootstrap_servers=topics.bootstrap, redis_url=redis_url, topic_prefix=topics.prefix
    )


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


def someone(subject: str) -> SessionClaims:
    return SessionClaims(subject=subject, session_id=f"of-{subject}", established_at=BEFORE)


async def test_redis_is_wiped_and_filled_again(topics: Topics, settings: Any, redis: Any, redis_url: str) -> None:
    cut: list[object] = []
    async with (
        Gateway("chat", redis_url=redis_url, mode="strict", max_staleness=2.0) as strict,
        feeding.leaving(member(settings)),
    ):
        await topics.end(feeding.notice("alice"))
        await until_health(strict.health, lambda health: health.synced and health.position == "e1.1.0")
        strict.connections.add(someone("bob"), cut.append)

        await redis.flushall()
        await topics.end(feeding.notice("bob"), partition=1)
        await until_health(strict.health, lambda health: health.synced and health.position == "e1.1.1")
        await feeding.until(lambda: strict.check(someone("dave")) is None)

        assert cut
        assert isinstance(strict.check(someone("alice")), Revocation)
        assert isinstance(strict.check(someone("bob")), Revocation)


async def test_without_whoever_fills_redis_the_view_grows_old(settings: Any, redis_url: str) -> None:
    async with Gateway("chat", redis_url=redis_url, mode="strict", max_staleness=2.0) as strict:
        await until_health(strict.health, lambda health: "no projection" in (health.error or ""))
        async with feeding.leaving(member(settings)):
            await strict.ready(feeding.SECONDS)
            await feeding.until(lambda: strict.check(someone("bob")) is None)

        await feeding.until(lambda: isinstance(strict.check(someone("bob")), Stale))
    # And one that starts now does not take what has lain there for fresh.
    async with Gateway("chat", redis_url=redis_url, mode="strict") as late:
        await feeding.until(lambda: late.health().position != "unknown")
        await asyncio.sleep(0.5)
        assert isinstance(late.check(someone("bob")), Stale)


async def test_a_stream_that_went_back_is_read_from_its_beginning(
    topics: Topics, settings: Any, redis: Any, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with feeding.leaving(member(settings)):
        await topics.end(feeding.notice("alice"), feeding.notice("bob"))
        async with Gateway("chat", redis_url=redis_url) as chat:
            await until_health(chat.health, lambda health: health.synced and health.position == "e1.2.0")
            # A replica takes over that has not heard of the last one, and whose clock is behind.
            (oldest, _), (newest, fields) = await redis.xrange(STREAM)
            milliseconds = int(oldest.partition(b"-")[0])
            missed = {b"value": feeding.notice("carol"), b"place": b"1", b"offset": b"0"}
            async with redis.pipeline(transaction=True) as pipe:
                pipe.xdel(STREAM, newest)
                pipe.rename(STREAM, "old")
                pipe.xadd(STREAM, missed, id=f"{milliseconds - 1_000}-0")
                await pipe.execute()
            await feeding.until(lambda: chat.find(someone("carol")) is not None)

            assert fields[b"place"] == b"0"
            assert isinstance(chat.find(someone("bob")), Revocation)
            assert "feed-truncated" in caplog.text
