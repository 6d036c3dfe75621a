"""Members die at every step: each notification is taken or set aside all the same, under one id, and offsets follow."""

import asyncio
import json
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Final

import pytest
from faststream.kafka import KafkaBroker

from revoker.service import reach, rejected, topics
from tests import servers
from tests.denylist import PARTITIONS, World, ended, revocation
from tests.faults.conftest import NOWHERE
from tests.faults.origins_member import hastened
from tests.origins import SECRET, Delivery, Reply, Server, hooked, is_signed, member, serving
from tests.processes import ROOT, environment, eventually

SUBJECTS: Final = 7
EACH: Final = 12
# How often a step surely comes: what is left in the end may be committed at once.
STEPS: Final = {"before": 3, "taken": 12, "aside": 3, "committed": 1}


@pytest.fixture
def hook() -> Iterator[Server]:
    """Takes everything but what is for `poison`."""
    with serving(lambda one: Reply(410 if one.subject == "poison" else 204)) as server:
        yield server


@pytest.fixture
async def world(quick_kafka: str, topic_prefix: str, hook: Server) -> AsyncIterator[World]:
    """A topic full of notifications."""
    settings = servers.make_settings(
        kafka_bootstrap_servers=quick_kafka,
        redis_url=NOWHERE,
        topic_prefix=topic_prefix,
        origins=(hooked(hook.url, concurrency=3),),
    )
    await topics.ensure(settings)
    async with World(settings) as world:
        await world.beat("feed-1")
        for number in range(EACH):
            for who in range(SUBJECTS):
                value = ended(revocation(f"u-{who}", cause=f"c-{number}"))
                await world.write(value, key=f"u-{who}", partition=who % PARTITIONS)
            if number % 3 == 0:
                await world.write(ended(revocation("poison")), key="poison", partition=number % PARTITIONS)
        yield world


async def life(world: World, hook: Server, step: str, count: int) -> None:
    """One member, until it has killed itself."""
    told = {"name": "login", "kind": "webhook", "url": hook.url, "secret": SECRET, "concurrency": 3}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.origins_member",
        step,
        str(count),
        env=environment(world.settings, REVOKER_ORIGINS=json.dumps([told])),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert await asyncio.wait_for(child.wait(), 90) == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def test_members_die_at_every_step_and_nothing_is_lost(
    world: World, hook: Server, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    for step, most in STEPS.items():
        await life(world, hook, step, chance.randint(1, most))
    monkeypatch.setattr(KafkaBroker, "subscriber", hastened(KafkaBroker.subscriber))
    async with member(world.settings):

        async def over() -> bool:
            async with reach.admin(world.settings) as admin:
                found = await admin.list_consumer_group_offsets(world.settings.topic("revoker-origins-login"))
            return sorted(entry.offset for entry in found.values()) == sorted(world.written)

        await eventually(over, f"all to be done: {world.written}")

    first: dict[str, Delivery] = {}
    for one in hook.taken:
        assert is_signed(one)
        assert one.body == first.setdefault(one.headers["webhook-id"], one).body
    told = defaultdict(list)
    for one in first.values():
        told[one.subject].append(one.event["data"]["cause"])
    assert told == {f"u-{who}": [f"c-{number}" for number in range(EACH)] for who in range(SUBJECTS)}
    aside = await rejected.newest(world.settings, 100)
    assert {one.reason for one in aside} == {"origin-gave-up"}
    assert len({one.value for one in aside}) == EACH // 3
