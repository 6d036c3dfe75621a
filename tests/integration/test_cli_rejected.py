"""`revoker rejected`: what was set aside is shown safely and sent back as it came."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from revoker.kafka import client_options
from revoker.service import topics
from revoker.settings import Settings
from tests.integration.cli_worker import Worker, environment, event, run, working

ODD = b"\x1b[31mred\x07\x00 \xff{"
HEADERS = [("traceparent", b"00-1"), ("bad", b"\xff\xfe"), ("none", None)]


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[Worker]:
    await topics.ensure(settings)
    async with working(settings) as at_work:
        yield at_work


@pytest.fixture
def env(settings: Settings) -> Mapping[str, str]:
    return environment(settings)


async def on(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """All records of the topic."""
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=None, auto_offset_reset="earliest")
    async with consumer:
        places = [TopicPartition(settings.topic(topic), n) for n in range(settings.kafka.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: list[ConsumerRecord] = []
        while len(found) < sum(ends.values()):
            found += [record for some in (await consumer.getmany(timeout_ms=200)).values() for record in some]
        return found


async def test_that_nothing_set_aside_is_exit_3(worker: Worker, env: Mapping[str, str]) -> None:
    del worker
    for words in (["list"], ["list", "--json"], ["replay", "--all"]):
        assert (await run(env, "rejected", *words)).code == 3


async def test_that_hostile_bytes_are_shown_and_command_no_terminal(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.send("identity-events", ODD, key=b"\x9b2J\xff", headers=HEADERS)
    await worker.send("identity-events", event("com.example.fancy"), key=b"bob")
    await worker.send("identity-events", None, key=b"t")
    for columns in ("100", "300"):
        shown = await run({**env, "COLUMNS": columns}, "rejected", "list")
        assert shown.code == 0
        assert all(line.isprintable() for line in shown.out.splitlines())
        assert max(map(len, shown.out.splitlines())) <= int(columns)
    for words in ("not-json", "unknown-type", "empty", "no value", worker.settings.topic("identity-events")):
        assert words in shown.out

    said = (await run(env, "rejected", "list", "--json")).json
    assert [one["reason"] for one in said] == ["empty", "unknown-type", "not-json"]
    assert said[1]["type"] == "com.example.fancy"
    assert said[2]["topic"] == worker.settings.topic("identity-events")
    assert len((await run(env, "rejected", "list", "--json", "--limit", "1")).json) == 1


async def test_that_a_replay_sends_the_original_back_byte_by_byte(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.send("identity-events", ODD, key=b"\xff", headers=HEADERS)
    await worker.send("identity-events", event("com.example.fancy"), key=None)
    before = await on(worker.settings, "identity-events")

    tried = await run(env, "rejected", "replay", "--all", "--dry-run")
    assert (tried.code, len(await on(worker.settings, "identity-events"))) == (0, 2)
    assert "would send 2 records once more" in tried.out

    done = await run(env, "rejected", "replay", "--reason", "not-json")
    assert done.code == 0
    assert "sent 1 record once more: 1 not-json" in done.out
    after = await on(worker.settings, "identity-events")
    (original,) = (record for record in before if record.value == ODD)
    copies = [record for record in after if record.value == ODD]
    assert [same(copy) for copy in copies] == [same(original)] * 2
    assert len(after) == 3


def same(record: ConsumerRecord) -> Any:
    return record.partition, record.key, record.value, record.headers


async def test_that_single_records_can_be_chosen(worker: Worker, env: Mapping[str, str]) -> None:
    for value in (b"one", b"two", b"three"):
        await worker.send("identity-events", value)
    names = {one["value"]: one["record"] for one in (await run(env, "rejected", "list", "--json")).json}
    chosen = ["--offset", names["one"], "--offset", names["three"]]
    done = await run(env, "rejected", "replay", *chosen, "--json")
    assert (done.code, done.json["sent"], done.json["by_reason"]) == (0, 2, {"not-json": 2})
    values = sorted(record.value for record in await on(worker.settings, "identity-events"))
    assert values == [b"one", b"one", b"three", b"three", b"two"]
    assert (await run(env, "rejected", "replay", *chosen, "--reason", "empty")).code == 3


async def test_that_what_was_cured_is_applied_by_the_replay(worker: Worker, env: Mapping[str, str]) -> None:
    """A record that an older release did not know: the new one does."""
    topic, origin = worker.settings.topic("rejected-events"), worker.settings.topic("identity-events").encode()
    headers = [("revoker-reason", b"unknown-type"), ("revoker-topic", origin), ("revoker-partition", b"99")]
    await worker.producer.send_and_wait(topic, event("account-disabled"), key=b"alice", headers=headers)
    assert (await run(env, "rejected", "replay", "--reason", "unknown-type")).code == 0
    await worker.send("identity-events", event("logged-out", data={"session_id": "fence"}))
    said = (await run(env, "revocations", "--json")).json
    assert "account-disabled" in {one["cause"] for one in said}
    (sent,) = (r for r in await on(worker.settings, "identity-events") if b"account-disabled" in r.value)
    assert (sent.key, sent.headers) == (b"alice", ())


@pytest.mark.parametrize("origin", ["session-ended", "gateway-heartbeats", "", "\x00"])
async def test_that_a_forged_origin_sends_nothing_anywhere(worker: Worker, env: Mapping[str, str], origin: str) -> None:
    topic = worker.settings.topic("rejected-events")
    headers = [("revoker-reason", b"x"), ("revoker-topic", worker.settings.topic(origin).encode())]
    await worker.producer.send_and_wait(topic, b"{}", headers=headers)
    await worker.producer.send_and_wait(topic, b"{}")
    done = await run(env, "rejected", "replay", "--all")
    assert done.code == 3
    assert "2 records left out" in done.err
    assert await on(worker.settings, "session-ended") == []


async def test_that_more_than_one_fetch_is_read_and_replayed(worker: Worker, env: Mapping[str, str]) -> None:
    topic, origin = worker.settings.topic("rejected-events"), worker.settings.topic("session-activity").encode()
    headers = [("revoker-reason", b"refused-by-database"), ("revoker-topic", origin), ("revoker-partition", b"1")]
    for start in range(0, 700, 100):
        sent = [
            await worker.producer.send(topic, b"%d" % n + b"." * 9_000, headers=headers, partition=n % 3)
            for n in range(start, start + 100)
        ]
        for one in sent:
            await one
    done = await run(env, "rejected", "replay", "--all", "--json")
    assert done.json["sent"] == 700
    arrived = [r for r in await on(worker.settings, "session-activity") if r.partition == 1]
    assert len({record.value for record in arrived}) == 700
    assert len((await run(env, "rejected", "list", "--json", "--limit", "600")).json) == 600
