"""An event that Kafka acknowledged is applied and announced, whatever dies."""

import json
from collections import defaultdict

import pytest

from schemas.topics import Topic
from tests.faults.history import Service
from tests.processes import eventually

PEOPLE = 3_000
KILLED_AT = (300, 900, 1_500)


@pytest.mark.timeout(240)
async def test_a_consumer_killed_three_times_in_the_middle_of_3000_email_changes_announces_them_all(
    service: Service,
) -> None:
    sign_ins, changes = service.load.email_changes(PEOPLE)
    await service.produce(sign_ins)
    consumer = service.run()
    await service.settled()

    await service.produce(changes)
    for mark in KILLED_AT:

        async def beyond(mark: int = mark) -> bool:
            return await stored(service) >= mark

        await eventually(beyond, lambda mark=mark: f"{mark} stored")
        consumer.kill()
        assert await consumer.gone() == -9
        assert await stored(service) < PEOPLE, "it was done before it could be killed"
        consumer = service.run()
    await service.finish()

    ids: dict[str, set[str]] = defaultdict(set)
    for record in await service.read(Topic.SESSION_ENDED):
        notice = json.loads(record.value)
        if notice["data"]["kind"] == "ended":
            ids[notice["subject"]].add(notice["id"])
    assert len(ids) == PEOPLE
    assert all(len(of_one) == 1 for of_one in ids.values())


async def stored(service: Service) -> int:
    [row] = await service.rows("select count(*) from revocations")
    return int(row[0])
