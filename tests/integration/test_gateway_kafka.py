"""A gateway on a real Kafka: what it reads, from where on, and what it makes of a log that changes under it."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from revoker.core.claims import SessionClaims
from revoker.core.verdicts import Revocation
from revoker.gateway.feeds.kafka import KafkaFeed
from revoker.gateway.gateway import Gateway
from revoker.gateway.health import Stale
from tests import feeding
from tests.feeding import Topics, until_health

BEFORE = time.time() - 10_000
"""When everybody signed in."""


@pytest.fixture
async def topics(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Topics]:
    async with feeding.topics(kafka_bootstrap, topic_prefix) as made:
        yield made


def gateway(topics: Topics, **given: Any) -> Gateway:
    return Gateway(
        "chat", **{"bootstrap_servers": topics.bootstrap, "topic_prefix": topics.prefix, "mode": "strict"} | given
    )


def someone(subject: str = "alice", session_id: str | None = "s-1", **given: Any) -> SessionClaims:
    return SessionClaims(**{"subject": subject, "session_id": session_id, "established_at": BEFORE} | given)


def is_ended(gateway: Gateway, subject: str) -> bool:
    return isinstance(gateway.find(someone(subject)), Revocation)


# Where it begins


async def test_it_replays_before_it_serves(topics: Topics) -> None:
    await topics.create()
    await topics.beat()
    await topics.end(feeding.notice("alice", "s-1"), partition=1)
    strict = gateway(topics)
    assert isinstance(strict.check(someone("bob")), Stale)

    async with strict:
        await strict.ready(feeding.SECONDS)

        assert isinstance(strict.check(someone("alice")), Revocation)
        assert strict.check(someone("bob")) is None
        assert strict.health().position == "e1.0.1"


async def test_a_start_waits_neither_for_a_topic_nor_for_a_broker(topics: Topics) -> None:
    async with gateway(topics, bootstrap_servers="127.0.0.1:1") as nowhere:
        await until_health(nowhere.health, lambda health: "Kafka" in (health.error or ""))

    async with gateway(topics, receipts=False) as early:
        await until_health(early.health, lambda health: "no topic" in (health.error or ""))
        assert isinstance(early.check(someone()), Stale)

        await topics.create()
        await topics.beat()
        await topics.end(feeding.notice("alice"))
        await until_health(early.health, lambda health: health.synced)

        await feeding.until(lambda: is_ended(early, "alice"))


@pytest.fixture
async def aged(topics: Topics) -> Topics:
    """Topics in which the test itself says how old a record is."""
    own_time = {"message.timestamp.type": "CreateTime"}
    await topics.admin.create_topics([NewTopic(topics.session_ended, 1, 1, topic_configs=own_time)])
    await topics.create_one(topics.heartbeats, 1)
    old = int((time.time() - 5_000) * 1000)
    await topics._producer.send_and_wait(topics.session_ended, feeding.notice("old"), timestamp_ms=old)
    recent = int((time.time() - 1_000) * 1000)
    await topics._producer.send_and_wait(topics.session_ended, feeding.notice("recent"), timestamp_ms=recent)
    await topics._producer.send_and_wait(topics.session_ended, feeding.notice("new"))
    return topics


async def test_it_begins_at_the_lifetime_of_a_credential(aged: Topics) -> None:
    await aged.beat(partitions=1)

    async with gateway(aged, receipts=False, credential_lifetime=3600) as late:
        await late.ready(feeding.SECONDS)

        assert is_ended(late, "recent")
        assert not is_ended(late, "old")
        assert late.health().progress.total == 2


async def test_a_clock_that_is_ahead_skips_nothing(aged: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    await aged.beat(partitions=1)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3_000)

    async with gateway(aged, receipts=False, credential_lifetime=3600) as ahead:
        await ahead.ready(feeding.SECONDS)

        assert is_ended(ahead, "recent")


async def test_where_nothing_says_what_time_it_is_it_begins_at_the_beginning(aged: Topics) -> None:
    async with gateway(aged, receipts=False, credential_lifetime=3600) as timeless:
        await timeless.ready(feeding.SECONDS)

        assert is_ended(timeless, "old")
        assert timeless.health().position == "unknown.3"


# What it does with records


async def test_what_cannot_be_read_is_skipped_loudly_and_its_neighbours_count(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    await topics.create()
    await topics.beat()
    unknown = json.dumps({"type": "session-merged", "id": "1", "data": {}}).encode()
    await topics.end(None, b"\xff{", b'{"type":"session-ended"}', unknown, feeding.notice("alice"))

    async with gateway(topics, receipts=False) as reader:
        await reader.ready(feeding.SECONDS)

        assert is_ended(reader, "alice")
        assert reader.health().skipped == 3
        assert reader.health().position == "e1.5.0"
        assert "feed-record-skipped" in caplog.text


async def test_duplicates_and_another_order_change_nothing(topics: Topics) -> None:
    await topics.create(1)
    await topics.beat(partitions=1)
    first, second = feeding.notice("alice", "s-1"), feeding.notice("alice", "s-2")
    seen: list[str] = []

    async with gateway(topics, receipts=False) as reader:
        reader.on_ended(lambda ended: seen.append(ended.revocation.id))
        await topics.end(second, first, second, first, second)
        await until_health(reader.health, lambda health: health.position == "e1.5")

    assert seen == [feeding.revocation_of(second), feeding.revocation_of(first)]


# A log that changes


async def test_another_epoch_is_read_from_the_beginning_and_nothing_is_forgotten(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    await topics.create(1)
    await topics.beat("e1", 1)
    await topics.end(feeding.notice("alice"), feeding.notice("bob"))

    async with gateway(topics, receipts=False, max_staleness=2.0) as reader:
        await until_health(reader.health, lambda health: health.position == "e1.2")
        await topics.admin.delete_topics([topics.session_ended])
        await asyncio.sleep(0.5)
        await topics.create_one(topics.session_ended, 1)
        await until_retried(topics.end(feeding.notice("carol")))
        await topics.beat("e2", 1)
        await until_health(reader.health, lambda health: health.synced and health.position == "e2.1")

        assert is_ended(reader, "carol")
        assert is_ended(reader, "alice")
        assert reader.check(someone("dave")) is None
        assert "feed-recreated" in caplog.text

        # A consumer that has not noticed yet.
        await topics.beat("e1", 1)
        await topics.end(feeding.notice("erin"))
        await until_health(reader.health, lambda health: health.position == "e2.2")


async def until_retried(work: Any) -> None:
    async with asyncio.timeout(feeding.SECONDS):
        await work


async def test_partitions_that_were_added_are_read_and_until_then_the_view_ages(topics: Topics) -> None:
    await topics.create(1)
    await topics.beat("e1", 1)

    async with gateway(topics, receipts=False) as reader:
        await reader.ready(feeding.SECONDS)
        # More are announced than there are: nothing vouches for those.
        await topics.beat("e1", 3)
        await until_health(reader.health, lambda health: "added" in (health.error or ""))
        assert reader.health().synced
        await topics.grow(3)
        await topics.end(feeding.notice("alice"), partition=2)
        await until_health(reader.health, lambda health: health.position == "e1.0.0.1" and health.error is None)

        assert is_ended(reader, "alice")


class Heard:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self.offsets: list[tuple[int, int]] = []
        self.problems: list[str] = []
        self.moments: list[float] = []

    def epoch(self, name: str) -> None: ...
    def begin(self, place: int, offset: int) -> None:
        self.places.append((place, offset))

    async def records(self, place: int, records: Sequence[tuple[int, bytes | None]], following: int) -> None:
        self.offsets += [(place, offset) for offset, _ in records]
        assert not records or records[-1][0] < following

    async def record(self, value: bytes, floors: Mapping[int, int], following: Mapping[int, int]) -> None: ...
    def current(self, as_of: float) -> None:
        self.moments.append(as_of)

    def lost(self, why: str) -> None:
        self.problems.append(why)

    def trouble(self, why: str) -> None:
        self.problems.append(why)

    def heard(self, at: float) -> None: ...
    def expect(self, total: int) -> None: ...


@contextlib.asynccontextmanager
async def running(feed: KafkaFeed) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(feed.run(heard))
    try:
        yield heard
    finally:
        await feeding.ended(task)


async def test_it_goes_on_where_it_was_and_from_the_beginning_of_a_log_that_was_cut(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    await topics.create(1)
    await topics.beat("e1", 1)
    await topics.end(*[feeding.notice(f"user-{number}") for number in range(5)])
    feed = KafkaFeed(
        {"bootstrap_servers": topics.bootstrap},
        topic_prefix=topics.prefix,
        credential_lifetime=3600,
        max_staleness=1.0,
    )
    async with running(feed) as heard:
        await feeding.until(lambda: heard.moments)
        assert heard.offsets == [(0, offset) for offset in range(5)]

    await topics.end(*[feeding.notice(f"more-{number}") for number in range(5)])
    async with running(feed) as heard:
        await feeding.until(lambda: heard.moments)
        assert heard.offsets == [(0, offset) for offset in range(5, 10)]
        assert heard.places == []

    await topics.end(*[feeding.notice(f"lost-{number}") for number in range(5)])
    place = TopicPartition(topics.session_ended, 0)
    await topics.admin.delete_records({place: RecordsToDelete(before_offset=13)})
    with caplog.at_level(logging.ERROR):
        async with running(feed) as heard:
            await feeding.until(lambda: heard.moments)
            assert heard.offsets == [(0, 13), (0, 14)]
            assert heard.places == [(0, 13)]
            assert "cut" in heard.problems[0]
    assert "feed-truncated" in caplog.text
