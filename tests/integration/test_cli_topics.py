"""`revoker topics` and `ensure`, against a real broker."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from revoker.errors import ConfigurationError, UnavailableError
from revoker.kafka import client_options
from revoker.service import topics
from revoker.service.topics import Level
from revoker.settings import KafkaSettings, Settings
from schemas.inputs import DEFAULT_INPUTS, Input
from schemas.topics import TOPICS
from tests.integration.cli_worker import NOWHERE, environment, run
from tests.servers import make_settings


@pytest.fixture
def kafka_settings(kafka_bootstrap: str, topic_prefix: str) -> Settings:
    return make_settings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=topic_prefix)


@pytest.fixture
async def admin(kafka_settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**client_options(kafka_settings))
    await client.start()
    yield client
    await client.close()


async def make(admin: AIOKafkaAdminClient, name: str, configs: Mapping[str, str], partitions: int = 3) -> None:
    answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs))])
    assert [code for _, code, _ in answer.topic_errors] == [0]


async def test_that_missing_topics_are_named_then_created_then_left_alone(kafka_settings: Settings) -> None:
    env = environment(kafka_settings)
    before = await run(env, "topics")
    assert before.code == 1
    for topic in TOPICS:
        assert kafka_settings.topic(topic) in before.out

    created = await run(env, "topics", "--create")
    assert created.code == 0, created.out + created.err
    assert created.out.count("created ") == len(TOPICS)

    after = await run(env, "topics", "--create", "--json")
    assert after.code == 0
    assert after.json["created"] == []
    assert {one["level"] for one in after.json["findings"]} == {"ok"}
    found = {(one["topic"], one["setting"]): one["found"] for one in after.json["findings"]}
    beats = kafka_settings.topic("session-ended-heartbeats")
    assert (found[beats, "partitions"], found[beats, "retention.ms"]) == ("1", "1 h")
    assert found[kafka_settings.topic("session-ended"), "message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize(
    ("topic", "configs", "said"),
    [
        ("identity-events", {"message.timestamp.type": "CreateTime"}, "message.timestamp.type is CreateTime"),
        ("session-ended", {"retention.ms": "1000"}, "retention.ms is 1 s, wanted 31 d or more"),
        ("session-ended", {"cleanup.policy": "compact"}, "cleanup.policy is compact, wanted delete"),
    ],
)
async def test_that_an_unsafe_topic_is_refused_by_name_and_never_altered(
    kafka_settings: Settings, admin: AIOKafkaAdminClient, topic: str, configs: Mapping[str, str], said: str
) -> None:
    name = kafka_settings.topic(topic)
    safe = {"message.timestamp.type": "LogAppendTime", "retention.ms": str(31 * 86_400_000)}
    await make(admin, name, {**safe, **configs})

    with pytest.raises(ConfigurationError) as refused:
        await topics.ensure(kafka_settings)
    assert f"{name}: {said}" in str(refused.value)
    done = await run(environment(kafka_settings, COLUMNS="300"), "topics", "--create")
    assert done.code == 1
    assert said in done.out
    # All others are there now, and this one is as it was.
    wrong = [one for one in await topics.check(kafka_settings) if one.level is Level.FAIL]
    assert [(one.topic, one.setting) for one in wrong] == [(name, next(iter(configs)))]


async def test_that_missing_topics_stop_the_start_where_they_are_not_ours_to_create(kafka_settings: Settings) -> None:
    unmanaged = kafka_settings.model_copy(
        update={"kafka": kafka_settings.kafka.model_copy(update={"manage_topics": False})}
    )
    with pytest.raises(ConfigurationError, match="identity-events: exists is missing"):
        await topics.ensure(unmanaged)
    assert {one.setting for one in await topics.check(unmanaged)} == {"exists"}

    await topics.ensure(kafka_settings)
    await topics.ensure(unmanaged)


async def test_that_the_times_of_a_foreign_topic_are_a_warning(
    kafka_settings: Settings, admin: AIOKafkaAdminClient
) -> None:
    ours = kafka_settings.model_copy(update={"inputs": (*DEFAULT_INPUTS, Input(topic="theirs"))})
    kept = {"message.timestamp.type": "CreateTime", "retention.ms": str(8 * 86_400_000)}
    await make(admin, ours.topic("theirs"), kept)
    await topics.ensure(ours)
    odd = [one for one in await topics.check(ours) if one.level is not Level.OK]
    assert [(one.topic, one.setting, one.level) for one in odd] == [
        (ours.topic("theirs"), "message.timestamp.type", Level.WARN)
    ]


async def test_that_fewer_partitions_are_a_warning(kafka_settings: Settings, admin: AIOKafkaAdminClient) -> None:
    name = kafka_settings.topic("gateway-receipts")
    kept = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
    await make(admin, name, kept, partitions=1)
    await topics.ensure(kafka_settings)
    found = {one.setting: one.level for one in await topics.check(kafka_settings) if one.topic == name}
    assert found["partitions"] is Level.WARN
    assert set(found.values()) == {Level.OK, Level.WARN}


async def test_that_more_copies_than_brokers_are_a_matter_of_settings(kafka_settings: Settings) -> None:
    greedy = kafka_settings.model_copy(update={"kafka": KafkaSettings(partitions=1, replication=3)})
    with pytest.raises(ConfigurationError, match=r"kafka\.replication"):
        await topics.ensure(greedy)
    done = await run(environment(greedy), "topics", "--create")
    assert (done.code, done.out) == (2, "")
    assert "kafka.replication" in done.err


async def test_that_two_that_create_at_once_do_no_harm(kafka_settings: Settings) -> None:
    await asyncio.gather(*(topics.ensure(kafka_settings) for _ in range(3)))
    assert all(one.level is Level.OK for one in await topics.check(kafka_settings))


async def test_that_a_kafka_that_is_away_is_exit_6(kafka_settings: Settings) -> None:
    away = kafka_settings.model_copy(update={"kafka_bootstrap_servers": NOWHERE})
    with pytest.raises(UnavailableError):
        await topics.check(away)
    for words in (["topics"], ["rejected", "list"], ["rejected", "replay", "--all"], ["revoke", "alice"]):
        done = await run(environment(away), *words)
        assert (done.code, done.out, len(done.err.splitlines())) == (6, "", 1), words


async def test_that_acls_need_no_server_and_name_every_topic(kafka_settings: Settings) -> None:
    away = kafka_settings.model_copy(update={"kafka_bootstrap_servers": NOWHERE})
    done = await run(environment(away), "topics", "--print-acls")
    assert done.code == 0
    for topic in TOPICS:
        assert f"--topic {away.topic(topic)}\n" in done.out
    assert [line for line in done.out.splitlines() if not line.startswith(("# ", "kafka-acls "))] == []
