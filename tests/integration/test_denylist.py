"""The denylist consumers on real servers: what is announced is in Redis, and readers know what that is worth."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from revoker.core.copies import Templates
from revoker.core.notices import EndedToken
from revoker.core.revocation import Selector
from revoker.core.wire import decode_notice
from revoker.projection.entries import Chunk
from revoker.projection.store import Move, OutOfStepError, Projection
from revoker.service import doctor, topics
from revoker.settings import DenylistSettings
from revoker.telemetry import Metrics
from schemas.fields import wire_time
from tests import servers
from tests.denylist import PREFIX, World, ended, hold, lift, member, revocation, session


@pytest.fixture
async def world(kafka_bootstrap: str, redis_url: str, topic_prefix: str) -> AsyncIterator[World]:
    """A topic, and an empty Redis."""
    settings = servers.make_settings(
        kafka_bootstrap_servers=kafka_bootstrap,
        redis_url=redis_url,
        topic_prefix=topic_prefix,
        denylist=DenylistSettings(cached=("sess:{session_id}", "menu:{tenant}:{subject}")),
    )
    await topics.ensure(settings)
    async with World(settings) as world:
        yield world


async def test_what_is_announced_stands_where_readers_look(world: World) -> None:
    gone = revocation("alice", keep=("s-kept",))
    await world.write(ended(gone, session("s-1"), tokens=(EndedToken("t-1", None),)))
    await world.write(ended(revocation("bob")), partition=1)
    await world.beat("feed-1")

    async with member(world.settings):
        await world.complete()

        async def known() -> bool:
            return await world.epoch() == "feed-1"

        await world.until(known, "the feed's epoch")

    [rule] = (await world.redis.hgetall(f"{PREFIX}subject::alice")).values()
    assert json.loads(rule)["keep"] == ["s-kept"]
    assert await world.redis.hlen(f"{PREFIX}session:s-1") == 1
    assert await world.redis.hlen(f"{PREFIX}token:t-1") == 1
    for key in (f"{PREFIX}subject::alice", f"{PREFIX}session:s-1", f"{PREFIX}token:t-1"):
        assert 29 * 86_400 < await world.redis.ttl(key) <= 30 * 86_400 + 1
    entries = await world.redis.xrange("revoker:session-ended")
    assert sorted((entry["place"], entry["offset"]) for _, entry in entries) == [("0", "0"), ("1", "0")]


async def test_a_client_s_part_ends_alone(world: World) -> None:
    logout = Selector(tenant="", subject="alice", session_ids=("s-1",), client_id="web")
    await world.write(ended(revocation(selector=logout), session("s-1", "web")))

    async with member(world.settings):
        await world.complete()

    entries = [json.loads(value) for value in await world.redis.hvals(f"{PREFIX}session:s-1")]
    assert entries
    assert {entry["selector"]["client_id"] for entry in entries} == {"web"}


async def test_holds_stand_where_those_they_concern_come_by_and_lifts_where_all_do(world: World) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    await world.write(lift("h-2", until - timedelta(minutes=30)))
    await world.write(
        hold("h-1", {"tenant": "", "subject": "alice"}, until), hold("h-2", {"client_id": "web"}, until), partition=1
    )

    async with member(world.settings):
        await world.complete()

    assert await world.redis.hkeys(f"{PREFIX}subject::alice") == ["h-1"]
    assert 3_500 < await world.redis.ttl(f"{PREFIX}subject::alice") <= 3_601
    assert set(await world.redis.hkeys(f"{PREFIX}wide")) == {"h-2", "lift:h-2"}


async def test_what_is_written_twice_or_in_another_order_is_the_same(world: World) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    everybody = Selector(tenant="", client_id="web")
    records = [
        ended(revocation("alice", keep=("s-2",)), session("s-1")),
        ended(revocation("alice", keep=("s-1",)), session("s-2")),
        ended(revocation(selector=everybody), session("s-3", subject="bob")),
        hold("h-1", {"tenant": "acme", "everyone": True}, until),
        lift("h-1", until),
    ]
    found = []
    for turn in (records, [*reversed(records), *records]):
        await world.write(*turn)
        async with member(world.settings):
            await world.complete()
        keys = [key for key in await world.redis.keys(PREFIX + "*") if await world.redis.type(key) == "hash"]
        internal = {PREFIX + name for name in ("state", "positions", "dropped")}
        found.append({key: await world.redis.hgetall(key) for key in keys if key not in internal})
        await world.redis.flushall()

    assert found[0] == found[1]
    assert len(found[0]) == 6


async def test_a_record_that_cannot_be_read_is_passed_over(world: World) -> None:
    metrics = Metrics()
    await world.write(b"{", None, b'{"type":"something-new"}', b"\xff\xfe", ended(revocation("alice")))

    async with member(world.settings, metrics):
        await world.complete()

    assert await world.redis.exists(f"{PREFIX}subject::alice")
    assert metrics.registry.get_sample_value("revoker_denylist_records_total", {"outcome": "rejected"}) == 3
    assert [entry["offset"] for _, entry in await world.redis.xrange("revoker:session-ended")] == ["2", "4"]


async def test_cached_copies_go_with_their_session_and_again_when_they_are_written_back(world: World) -> None:
    redis = world.redis
    copies = ("sess:s-1", "menu::alice", "app:page", "sess:s-2", "app:other")
    await redis.mset(dict.fromkeys(copies, "x") | {"revoker:mine": "x"})
    await redis.sadd("cached:s-1", "app:page", "revoker:mine")
    await redis.sadd("cached:s-2", "app:other")
    gone = revocation("alice", keep=("s-2",))
    await world.write(ended(gone, session("s-1")))
    await world.beat("feed-1")

    async with member(world.settings):
        await world.complete()
        assert await redis.mget(copies) == [None, None, None, "x", "x"]

        await redis.mset({"sess:s-1": "back", "app:late": "back"})
        await redis.sadd("cached:s-1", "app:late")

        async def deleted() -> bool:
            return not await redis.exists("sess:s-1", "app:late")

        await world.until(deleted, "what was written back to be deleted")
        [(due, at)] = await redis.zrange("revoker:cached-again", 0, -1, withscores=True)
        assert due.startswith("1|")

        # As if a minute had gone by: the last time takes the set with it.
        await redis.delete("revoker:cached-again")
        await redis.zadd("revoker:cached-again", {due.replace("1|", "2|", 1): at - 60_000})
        await redis.set("sess:s-1", "back")

        async def over() -> bool:
            return not await redis.exists("revoker:cached-again", "sess:s-1", "cached:s-1")

        await world.until(over, "the last deletion")

        async def told() -> bool:
            applied = [one for receipt in await world.receipts() for one in receipt.get("applied", ())]
            return bool(sum(one["cached_sessions_dropped"] for one in applied) == 6)

        await world.until(told, "receipts to tell of all copies")

    assert await redis.exists("revoker:mine", "cached:s-2") == 2
    assert not await redis.exists(f"{PREFIX}dropped")


async def test_receipts_prove_how_far_redis_is(world: World) -> None:
    await world.write(ended(revocation("alice")), ended(revocation("bob")), partition=2)
    await world.beat("feed-1")

    async with member(world.settings):
        await world.complete()

        async def proven() -> dict[str, object] | None:
            return next((one for one in await world.receipts() if one["state"] == "serving"), None)

        receipt = await world.until(proven, "a receipt of a serving projection")

    assert receipt["gateway"] == "redis"
    assert receipt["kind"] == "projection"
    assert receipt["position"] == "feed-1.0.0.2"
    assert receipt["epoch"] == "feed-1"
    assert receipt["incarnation"] == await world.build()
    assert "@" not in receipt["instance"]


async def test_two_members_share_the_work_and_speak_with_one_voice(world: World) -> None:
    await world.beat("feed-1")
    async with member(world.settings), member(world.settings):
        for turn in range(3):
            for partition in range(3):
                await world.write(ended(revocation(f"u-{turn}-{partition}")), partition=partition)
            await world.complete()
        build = await world.build()

        async def proven() -> bool:
            return any(one["position"] == "feed-1.3.3.3" for one in await world.receipts())

        await world.until(proven, "a receipt for all partitions")

    assert len(await world.redis.keys(f"{PREFIX}subject::u-*")) == 9
    assert {one["incarnation"] for one in await world.receipts()} == {build}


async def test_another_epoch_of_the_topic_builds_all_anew(world: World) -> None:
    await world.write(ended(revocation("alice")))
    await world.beat("feed-1")
    async with member(world.settings):
        await world.complete()

        async def epoch(wanted: str) -> bool:
            return await world.epoch() == wanted

        await world.until(lambda: epoch("feed-1"), "the first epoch")
        first = await world.build()

        await world.beat("feed-2")
        await world.until(lambda: epoch("feed-2"), "the second epoch")
        second = await world.build()
        # A consumer that has not noticed yet must not lead us back.
        await world.beat("feed-1")
        await world.complete()

        assert first != second == await world.build()
        assert await world.epoch() == "feed-2"
        assert await world.redis.exists(f"{PREFIX}subject::alice")


async def test_what_counts_no_more_is_tidied_away(world: World) -> None:
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=40)
    everybody = Selector(tenant="", client_id="web")
    await world.write(
        ended(revocation(selector=everybody, covers_until=now - timedelta(hours=1))),
        ended(revocation(selector=everybody)),
        hold("over", {"everyone": True}, now - timedelta(hours=1)),
        hold("lifted", {"everyone": True}, now + timedelta(days=365)),
        lift("lifted", long_ago),
        lift("unknown", long_ago),
        lift("early", now),
    )

    async with member(world.settings) as denylist:
        await world.complete()
        denylist._trust._tidied = -1e9

        async def tidy() -> bool:
            return bool(await world.redis.hlen(f"{PREFIX}wide") == 4)

        await world.until(tidy, "what is over to go")

    assert {"lifted", "lift:lifted", "lift:early"} < set(await world.redis.hkeys(f"{PREFIX}wide"))


async def test_the_doctor_says_what_redis_is_worth(world: World) -> None:
    async def said() -> tuple[str, str]:
        [finding] = [one async for one in doctor._redis(world.settings) if one.about == "denylist"]
        return finding.level.value, finding.text

    assert await said() == ("ok", "nothing is projected to Redis: nobody has begun to")
    async with member(world.settings):
        await world.complete()
        level, text = await said()
        assert (level, text[:36]) == ("ok", "Redis holds all that session-ended h")

    await world.redis.set(f"{PREFIX}as-of", wire_time(datetime.now(UTC) - timedelta(minutes=2)))
    assert await said() == ("warn", "Redis holds all that session-ended held 120 s ago")
    await world.redis.delete(f"{PREFIX}epoch")
    assert (await said())[1].startswith("readers of Redis are told not to trust it")


async def test_a_write_under_another_build_or_behind_a_loss_changes_nothing(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        projection = Projection(client, 86_400)
        old = await projection.begin("", "feed-1", 0)
        assert await projection.begin("", "feed-1", 0) == old
        await projection.place(old, {0: 0})
        chunk = Chunk()
        notice = decode_notice(ended(revocation("alice"), session("s-1")))
        assert notice is not None
        chunk.add(notice, Templates(()))
        with pytest.raises(OutOfStepError, match="behind"):
            await projection.apply(old, chunk, [Move(0, 1, 2)])
        new = await projection.begin(old, "feed-2", 0)
        await projection.place(new, {0: 0})
        with pytest.raises(OutOfStepError, match="build"):
            await projection.apply(old, chunk, [Move(0, 0, 1)])

        assert await client.keys(f"{PREFIX}s*:*") == []
        assert (await projection.state()).positions == {0: 0}
        assert (await projection.state()).past == {"feed-1"}
