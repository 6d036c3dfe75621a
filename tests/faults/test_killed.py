"""kill -9, between each pair of steps and anywhere."""

import asyncio
import json
import random
from itertools import chain

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from schemas.topics import Topic
from tests.faults.conftest import Found
from tests.faults.driver import STEPS
from tests.faults.history import INPUTS, Service
from tests.processes import eventually

KILLS = 200


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_between_two_steps_loses_nothing(service: Service, step: str) -> None:
    await service.produce(service.load.take(120))
    for lane in ("revocation", "registration", "revocation", "registration"):
        service.arm(f"{lane}.{step}")
        await service.produce(service.load.take(60))
        process = service.start()
        assert await process.gone() == -9, service.about(process.said[-3000:])

    service.start()
    await service.finish()


@pytest.mark.timeout(400)
async def test_two_hundred_kills_anywhere_lose_nothing(found: Found, seed: int) -> None:
    """Five consumers alone, and three that share a group: each is killed at a random moment after its first batch."""
    *alone, shared = worlds = [await found() for _ in range(6)]
    victims = [*alone, shared, shared, shared]
    under_load = asyncio.Event()

    async def torment(world: Service, chance: random.Random) -> int:
        for _ in range(KILLS // len(victims)):
            process = world.start(session_timeout_ms=600)
            await world.busy(process)
            await asyncio.sleep(chance.uniform(0, 0.4))
            process.kill()
            assert await process.gone() == -9, world.about(process.said[-3000:])
        return KILLS // len(victims)

    async def say(world: Service) -> None:
        while not under_load.is_set():
            await world.produce(world.load.take(30))
            await asyncio.sleep(0.25)

    talk = [asyncio.create_task(say(world)) for world in worlds]
    kills = await asyncio.gather(*(torment(world, random.Random(seed + n)) for n, world in enumerate(victims)))
    under_load.set()
    await asyncio.gather(*talk)

    assert sum(kills) >= KILLS
    for world in worlds:
        world.start()
    for world in worlds:
        await world.finish()


async def test_what_a_crash_left_unannounced_and_no_input_holds_any_more_is_announced(service: Service) -> None:
    await service.produce(list(chain(*service.load.email_changes(30))))
    service.arm("revocation.after-commit")
    service.arm("registration.after-commit")
    while list(service.trips.glob("*.after-commit")):
        assert await service.start().gone() == -9
    assert await service.rows("select id from batches where announced_at is null")
    async with service.admin() as admin:
        await admin.delete_records(
            {
                TopicPartition(service.settings.topic(topic), partition): RecordsToDelete(before_offset=end)
                for topic in INPUTS
                for partition, end in (await service.ends(topic)).items()
            }
        )

    process = service.start()

    async def announced() -> bool:
        return not await service.rows("select id from batches where announced_at is null")

    await eventually(announced, lambda: service.about(process.said[-3000:]))
    told = {json.loads(record.value)["data"]["revocation_id"] for record in await service.read(Topic.SESSION_ENDED)}
    stored = await service.rows("select id from revocations where not redundant")
    assert stored
    assert told == {str(row["id"]) for row in stored}
    assert await process.metric("revoker_swept_batches_total") > 0
    assert await process.metric('revoker_position_alarms_total{kind="gap"}') > 0
