"""`revoker doctor`: what is wrong is found, named, and comes with what to do."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from revoker.kafka import client_options
from revoker.service import topics
from revoker.settings import Settings
from revoker.storage import reading
from tests.integration.cli_worker import NOWHERE, Worker, environment, established, event, run, working


@pytest.fixture
def env(settings: Settings) -> Mapping[str, str]:
    return environment(settings)


async def findings(env: Mapping[str, str], about: str | None = None) -> list[tuple[str, str]]:
    """(level, text) of what is not ok, but for the durability that test servers do without."""
    said: list[dict[str, Any]] = (await run(env, "doctor", "--json")).json
    return [
        (one["level"], one["text"])
        for one in said
        if one["level"] != "ok" and one["about"] != "durability" and about in {None, one["about"]}
    ]


async def test_that_all_is_well_where_all_is_well(settings: Settings, env: Mapping[str, str]) -> None:
    await topics.ensure(settings)
    async with working(settings) as worker:
        await worker.register(established("s-1"))
        assert await findings(env) == []
    shown = await run({**env, "COLUMNS": "100"}, "doctor")
    for words in (
        "7 topics are as they should be",
        "migrated to",
        "all applied",
        "noeviction",
        "max_locks_per_transaction",
    ):
        assert words in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100


async def test_that_durability_is_asked_of_the_server(settings: Settings, env: Mapping[str, str]) -> None:
    said = (await run(env, "doctor", "--json")).json
    found = {one["text"]: one["level"] for one in said if one["about"] == "durability"}
    # The servers of tests run without; one that somebody gave may run with.
    assert found in (
        {"fsync is off": "fail", "full_page_writes is off": "fail", "synchronous_commit is on": "ok"},
        {"fsync is on": "ok", "full_page_writes is on": "ok", "synchronous_commit is on": "ok"},
    )
    assert settings.topic("identity-events") in str(said)


async def test_that_missing_topics_and_the_exit_code_are_told(env: Mapping[str, str]) -> None:
    done = await run(env, "doctor")
    assert done.code == 1
    assert "revoker topics --create" in done.out
    assert "7 topics" not in done.out


async def test_that_everything_down_is_three_findings_and_no_traceback(settings: Settings) -> None:
    env = {
        **environment(settings),
        "REVOKER_KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "REVOKER_DATABASE_URL": f"postgresql://u:hunter2@{NOWHERE}/x",
        "REVOKER_REDIS_URL": f"redis://:hunter2@{NOWHERE}/0",
    }
    done = await run(env, "doctor", "--json")
    assert done.code == 1
    assert [(one["about"], one["level"]) for one in done.json] == [
        ("kafka", "fail"),
        ("postgresql", "fail"),
        ("redis", "warn"),
    ]
    assert "hunter2" not in done.out + done.err


async def test_that_a_redis_that_evicts_or_is_away_is_never_fatal(settings: Settings, env: Mapping[str, str]) -> None:
    assert await findings({**env, "REVOKER_REDIS_URL": f"redis://{NOWHERE}/0"}, "redis") == [
        ("warn", "cannot be reached (ConnectionError)")
    ]
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    try:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        assert await findings(env, "redis") == [("warn", "maxmemory-policy is allkeys-lru")]
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.aclose()


async def test_that_an_unmigrated_database_is_told(settings: Settings, empty_database_url: str) -> None:
    env = {**environment(settings), "REVOKER_DATABASE_URL": empty_database_url}
    said = (await run(env, "doctor", "--json")).json
    (schema,) = (one for one in said if one["about"] == "schema")
    assert (schema["level"], schema["hint"]) == ("fail", "revoker migrate")


async def test_that_lost_records_and_a_recreated_topic_are_told(settings: Settings, env: Mapping[str, str]) -> None:
    await topics.ensure(settings)
    name = settings.topic("identity-events")
    async with working(settings) as worker:
        for _ in range(3):
            await worker.send("identity-events", event("password-changed"), partition=1)
        await _position(worker, name, partition=1, next_offset=1)
        await _delete_before(settings, name, partition=1, offset=2)
        found = await findings(env, "inputs")
        assert ("fail", f"{name}, partition 1: 1 records were deleted before they were applied") in found
        await _position(worker, name, partition=1, next_offset=17)
        found = await findings(env, "inputs")
        assert ("fail", f"{name}, partition 1: applied up to 17, but the log ends at 3") in found


async def _position(worker: Worker, topic: str, *, partition: int, next_offset: int) -> None:
    statement = "update lane_positions set next_offset = $3 where topic = $1 and partition = $2"
    async with worker.engine.begin() as connection:
        changed = await connection.exec_driver_sql(statement, (topic, partition, next_offset))
        assert changed.rowcount == 1


async def _delete_before(settings: Settings, topic: str, *, partition: int, offset: int) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def test_that_batches_left_unannounced_are_told(settings: Settings, env: Mapping[str, str]) -> None:
    await topics.ensure(settings)
    async with working(settings) as worker:
        await worker.send("identity-events", event("password-changed"))
        for minutes, level in ((2, "warn"), (6, "fail")):
            async with worker.engine.begin() as connection:
                await connection.exec_driver_sql(
                    "update batches set announced_at = null, committed_at = now() - make_interval(mins => $1)",
                    (minutes,),
                )
            ((found, text),) = await findings(env, "announcements")
            assert (found, text[:42]) == (level, "1 committed batch not announced yet, the o")


async def test_that_unknown_types_are_named_and_addresses_are_not(settings: Settings, env: Mapping[str, str]) -> None:
    await topics.ensure(settings)
    async with working(settings) as worker:
        for type_ in ("com.example.fancy", "com.example.fancy", "odd\u202e"):
            await worker.send("identity-events", event(type_))
        await worker.send("identity-events", b"{")
        await worker.register(established("s", "alice.liddell@example.org"), established("s", "@team@"))
        said = await findings(env, "rejected")
        assert said[0] == ("warn", "4 records set aside within a day: 3 unknown-type, 1 not-json")
        assert "com.example.fancy (2)" in said[1][1]
        assert said[1][1].isprintable()
        assert await findings(env, "subjects") == [("warn", "1 of a sample look like e-mail addresses")]
        everything = await run(env, "doctor")
        assert "liddell" not in everything.out + everything.err


async def test_that_clocks_apart_are_told(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    truth = reading.now

    async def wrong(engine: Any) -> Any:
        return await truth(engine) + timedelta(seconds=5)

    monkeypatch.setattr(reading, "now", wrong)
    ((level, text),) = await findings(env, "clock")
    assert level == "warn"
    assert "ms apart" in text
