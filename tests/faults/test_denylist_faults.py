"""Redis is wiped, killed, stalled, filled, demoted, misconfigured and restored, and members die: the projection is
whole again by itself, and never says that it is while it is not.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from revoker.embedded import EmbeddedValkey
from revoker.service import topics
from revoker.telemetry import Metrics
from schemas.fields import wire_time
from schemas.topics import Topic
from tests import servers
from tests.denylist import PARTITIONS, PREFIX, World, ended, member, revocation
from tests.processes import ROOT, environment

FEED: Final = "feed-1"


@pytest.fixture
async def world(kafka_bootstrap: str, own_valkey: EmbeddedValkey, topic_prefix: str) -> AsyncIterator[World]:
    """A topic, and a Valkey that may be maltreated."""
    settings = servers.make_settings(
        kafka_bootstrap_servers=kafka_bootstrap, redis_url=own_valkey.url, topic_prefix=topic_prefix
    )
    await topics.ensure(settings)
    async with World(settings) as world:
        await world.beat(FEED)
        yield world


class Talk:
    """Revocations, one after the other, and a reader that believes what it is told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.told: dict[str, str] = {}
        """Subjects, and when Kafka had acknowledged what ended theirs."""
        self.believed = 0

    async def say(self, count: int) -> None:
        """So many more."""
        for number in range(len(self.told), len(self.told) + count):
            await self._world.write(ended(revocation(f"u-{number}")), partition=number % PARTITIONS)
            self.told[f"u-{number}"] = wire_time(datetime.now(UTC))

    async def doubt(self, redis: Any) -> None:
        """Reads, and holds what it read against what it was told."""
        asked = dict(self.told)
        async with redis.pipeline(transaction=True) as pipe:
            pipe.get(f"{PREFIX}epoch").get(f"{PREFIX}as-of")
            for subject in asked:
                pipe.exists(f"{PREFIX}subject::{subject}")
            epoch, as_of, *found = await pipe.execute()
        if epoch is None or as_of is None:
            return
        self.believed += 1
        missing = [who for (who, at), there in zip(asked.items(), found, strict=True) if at < as_of and not there]
        assert not missing, f"{len(missing)} of {len(asked)} are not there, and it says that all are, as of {as_of}"

    async def all_there(self) -> bool:
        keys = [f"{PREFIX}subject::{subject}" for subject in self.told]
        return bool(await self._world.redis.exists(*keys) == len(keys))


@asynccontextmanager
async def talk(world: World) -> AsyncIterator[Talk]:
    """Talk that goes on until the end of the context, doubted all the time."""
    over = asyncio.Event()
    talking = Talk(world)

    async def say() -> None:
        while not over.is_set():
            await talking.say(20)
            await asyncio.sleep(0.05)

    async def doubt() -> None:
        url = world.settings.redis_url.get_secret_value()
        async with Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0)) as redis:
            while not over.is_set():
                with suppress(RedisError, OSError):
                    await talking.doubt(redis)
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(say())
        tasks.create_task(doubt())
        try:
            yield talking
        finally:
            over.set()


async def settled(world: World, talking: Talk) -> None:
    """Whole, and trusted."""
    assert await world.complete() == FEED
    assert await talking.all_there()
    assert talking.believed


async def another_build(world: World, than: str | None) -> None:
    async def changed() -> bool:
        build = await world.build()
        return build is not None and build != than

    await world.until(changed, "another build")


async def test_redis_is_wiped_during_revocations(world: World) -> None:
    metrics = Metrics()
    async with member(world.settings, metrics), member(world.settings):
        async with talk(world) as talking:
            for _ in range(2):
                await world.complete()
                build = await world.build()
                await world.redis.flushall()
                assert await world.epoch() is None
                await another_build(world, build)
        await settled(world, talking)


async def test_redis_is_wiped_while_nothing_is_written(world: World) -> None:
    async with member(world.settings):
        talking = Talk(world)
        await talking.say(30)
        await world.complete()
        talking.believed = 1
        await world.redis.flushall()

        await settled(world, talking)


async def test_redis_is_killed_stays_away_and_comes_back_empty(world: World, own_valkey: EmbeddedValkey) -> None:
    metrics = Metrics()
    async with member(world.settings, metrics) as denylist:
        async with talk(world) as talking:
            await world.complete()
            await own_valkey.kill()

            async def noticed() -> bool:
                return await denylist.why_unready() is not None

            await world.until(noticed, "the member to notice")
            await asyncio.sleep(2)
            await own_valkey.restart()
            await another_build(world, None)
        await settled(world, talking)

        async def ready() -> bool:
            return await denylist.why_unready() is None

        await world.until(ready, "the member to be ready")
    failures = metrics.registry.get_sample_value("revoker_denylist_failures_total", {"kind": "redis"})
    assert failures is not None
    assert failures < 40, "it does not back off"


async def test_redis_comes_back_with_older_data(world: World, own_valkey: EmbeddedValkey) -> None:
    """As after a failover that lost writes: it is brought up to date from where it stands."""
    async with member(world.settings):
        async with talk(world) as talking:
            await world.complete()
            build = await world.build()
            await world.redis.save()
            await talking.say(20)
            await world.complete()
            await own_valkey.kill()
            await own_valkey.restart()
        await settled(world, talking)
        assert await world.build() == build


async def test_redis_stalls(world: World, own_valkey: EmbeddedValkey) -> None:
    """Longer than a client waits."""
    async with member(world.settings):
        async with talk(world) as talking:
            await world.complete()
            os.kill(own_valkey.pid, signal.SIGSTOP)
            await asyncio.sleep(6)
            os.kill(own_valkey.pid, signal.SIGCONT)
        await settled(world, talking)


async def test_redis_is_full(world: World) -> None:
    """It refuses to write, and forgets nothing; what it says of itself stays true."""
    async with member(world.settings):
        async with talk(world) as talking:
            await world.complete()
            await world.redis.config_set("maxmemory", 1)
            since = await world.redis.get(f"{PREFIX}as-of")
            await asyncio.sleep(2)
            assert await world.redis.get(f"{PREFIX}as-of") <= max(since, wire_time(datetime.now(UTC)))
            await world.redis.config_set("maxmemory", 0)
        await settled(world, talking)


async def test_redis_is_demoted_for_a_while(world: World) -> None:
    async with member(world.settings):
        async with talk(world) as talking:
            await world.complete()
            await world.redis.replicaof("127.0.0.1", "1")
            await asyncio.sleep(2)
            await world.redis.replicaof("NO", "ONE")
        await settled(world, talking)


async def test_nobody_trusts_a_redis_that_may_forget(world: World) -> None:
    async def is_epoch(wanted: str | None) -> bool:
        return await world.epoch() == wanted

    async with member(world.settings) as denylist:
        await world.write(ended(revocation("alice")))
        assert await world.complete() == FEED
        build = await world.build()

        await world.redis.config_set("maxmemory-policy", "volatile-ttl")
        await world.until(lambda: is_epoch(None), "the epoch to go")

        async def said() -> bool:
            return "volatile-ttl" in (await denylist.why_unready() or "")

        await world.until(said, "the reason")
        assert await world.redis.exists(f"{PREFIX}subject::alice")

        await world.redis.config_set("maxmemory-policy", "noeviction")
        await world.until(lambda: is_epoch(FEED), "the epoch to be back")
        assert await world.build() != build


async def test_the_topic_is_created_anew(world: World) -> None:
    topic = world.settings.topic(Topic.SESSION_ENDED)
    async with member(world.settings):
        await world.write(*(ended(revocation(f"u-{number}")) for number in range(50)))
        await world.complete()
        build = await world.build()
        admin = AIOKafkaAdminClient(bootstrap_servers=world.settings.kafka_bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_topics([topic])
        finally:
            await admin.close()
        await topics.ensure(world.settings)
        world.written = [0] * PARTITIONS
        await world.write(ended(revocation("after")))
        await another_build(world, build)
        await world.beat("feed-2")

        async def known() -> bool:
            return await world.epoch() == "feed-2"

        await world.until(known, "the new epoch")

        assert await world.redis.exists(f"{PREFIX}subject::after", f"{PREFIX}subject::u-0") == 2


async def test_a_member_is_killed_between_its_write_and_its_commit(world: World) -> None:
    talking = Talk(world)
    await talking.say(60)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.denylist_member",
        env=environment(world.settings, REVOKER_LIMITS__BATCH="20"),
        cwd=ROOT,
    )
    try:
        assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            child.kill()

    async with member(world.settings):
        await talking.say(10)
        await world.complete()

    assert await talking.all_there()
