"""A gateway starts where a million notifications are to be replayed: it says how far it is, and stops nobody meanwhile.

Only in mode `strict` it refuses, as it has to: it does not know yet.
"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer

from tests import feeding
from tests.faults.gateway_served import App, served
from tests.feeding import Topics
from tests.frameworks.served import Person

COUNT: Final = 1_000_000
PARTITIONS: Final = 4
NUMBERED: Final = "000000000000"
"""Stands for the number of a notification, in its ids and in its names."""
REPLAYED_WITHIN: Final = 400.0
SAMPLE: Final = 200
SPARE_BYTES: Final = 96 * 1024 * 1024
"""What a process takes while it reads, whatever it keeps."""
_IN_FLIGHT: Final = 8


def dead(number: int) -> Person:
    """Whom notification `number` is about."""
    return Person(name=f"u-{number:012x}", session_id=f"s-{number:012x}")


def notifications() -> Iterator[bytes]:
    """So many as the service writes them, each about somebody else."""
    told = json.loads(feeding.notice(f"u-{NUMBERED}", f"s-{NUMBERED}"))
    for holder, name in ((told, "id"), (told["data"], "revocation_id")):
        holder[name] = holder[name][: -len(NUMBERED)] + NUMBERED
    parts = json.dumps(told, separators=(",", ":")).encode().split(NUMBERED.encode())
    for number in range(COUNT):
        yield (b"%012x" % number).join(parts)


async def seed(topics: Topics) -> None:
    """Batch by batch: one by one, a million sends would take minutes."""
    options = {"compression_type": "lz4", "max_batch_size": 500_000, "acks": 1}
    async with AIOKafkaProducer(bootstrap_servers=topics.bootstrap, **options) as producer:
        sent: list[asyncio.Future[Any]] = []
        place, batch = 0, producer.create_batch()

        async def send() -> None:
            sent.append(await producer.send_batch(batch, topics.session_ended, partition=place))
            if len(sent) >= _IN_FLIGHT:
                await sent.pop(0)

        for value in notifications():
            if batch.append(key=None, value=value, timestamp=None) is None:
                await send()
                place, batch = (place + 1) % PARTITIONS, producer.create_batch()
                assert batch.append(key=None, value=value, timestamp=None) is not None
        await send()
        await asyncio.gather(*sent)


@contextlib.asynccontextmanager
async def seeded(bootstrap: str, prefix: str) -> AsyncIterator[Topics]:
    async with feeding.topics(bootstrap, prefix) as topics:
        await topics.create(PARTITIONS)
        await topics.beat(partitions=PARTITIONS)
        await seed(topics)
        try:
            yield topics
        finally:
            await topics.admin.delete_topics([topics.session_ended])


async def statuses(app: App, numbers: Sequence[int]) -> set[int]:
    return {(await app.request(dead(number)))[0] for number in numbers}


@pytest.mark.timeout(600)
async def test_a_million_are_replayed_while_the_application_answers(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    env = {
        "PATH": os.environ.get("PATH", ""),
        "REVOKER_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
        "REVOKER_TOPIC_PREFIX": topic_prefix,
        "REVOKER_GATEWAY_MODE": "strict",
        "REVOKER_GATEWAY_MAX_STALENESS": "60",
    }
    sample = random.Random(7).sample(range(COUNT), SAMPLE)
    seen: list[int] = []
    answers: list[tuple[int, int]] = []
    async with (
        seeded(kafka_bootstrap, topic_prefix) as topics,
        feeding.repeating(topics.beat, 1.0),
        served(env, tmp_path) as app,
    ):
        first = await app.health()
        async with asyncio.timeout(REPLAYED_WITHIN):
            while not (health := await app.health())["synced"]:
                seen.append(health["progress"]["applied"])
                answers.append(((await app.request(None))[0], (await app.request(dead(COUNT)))[0]))
        await app.until(lambda told: told["state"] == "serving")

        assert await statuses(app, [0, COUNT - 1, *sample]) == {401}
        assert await statuses(app, [COUNT]) == {200}
        last = await app.health()

    assert not first["synced"]
    # While the last of them was asked the replay may have come to its end.
    assert set(answers[:-1]) == {(200, 503)}
    assert health["progress"] == {"applied": COUNT, "total": COUNT}
    assert seen == sorted(seen)
    assert len(set(seen)) > 10
    assert (last["skipped"], last["error"]) == (0, None)
    assert last["memory"] - first["memory"] < 1.25 * last["index_bytes"] + SPARE_BYTES
