"""Failures of our own hold back one partition, loudly, and no other."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import asyncpg
from sqlalchemy import make_url

from revoker.core.ids import lock_key
from schemas.topics import Topic
from tests.faults.history import Service
from tests.faults.load import Sent
from tests.processes import Process, eventually

WATCHED_SECONDS = 8


def pinned(service: Service, count: int) -> list[Sent]:
    """Events of so many people, each person's on one partition of the four."""
    return [replace(service.load.event("email-changed", f"person-{n}"), partition=n % 4) for n in range(count)]


async def others_are_done(service: Service, process: Process, held: int, offset: int) -> None:
    """Returns once all partitions but `held` are committed to their ends, and that one exactly to `offset`."""
    name = service.settings.topic(Topic.IDENTITY_EVENTS)

    async def done() -> bool:
        committed = await service.committed()
        wanted = await service.ends(Topic.IDENTITY_EVENTS) | {held: offset}
        return all(committed.get((name, partition)) == end for partition, end in wanted.items())

    await eventually(done, lambda: service.about(process.said[-3000:]))


async def test_a_defect_holds_back_its_own_partition_and_no_other(service: Service) -> None:
    (service.trips / "curse").touch()
    cursed = replace(service.load.event("password-changed", "cursed"), partition=2)
    await service.produce(pinned(service, 40))
    place = len([sent for sent in service.history.acknowledged if sent[1] == 2])
    await service.produce([cursed, *pinned(service, 40)])

    consumer = service.start()
    await others_are_done(service, consumer, 2, place)
    await service.produce(pinned(service, 40))
    await asyncio.sleep(WATCHED_SECONDS)
    await others_are_done(service, consumer, 2, place)

    attempts = [float(line) for line in (service.trips / "attempts").read_text().split()]
    gaps = [later - earlier for earlier, later in pairwise(attempts)]
    assert 2 <= len(attempts) < 15, service.about(gaps)
    assert gaps[-1] > gaps[0], service.about(("it does not back off", gaps))
    assert await consumer.metric('revoker_paused_partitions{lane="revocation"}') == 1
    assert await consumer.metric('revoker_failures_total{kind="decode",lane="revocation"}') == len(attempts)
    assert (await consumer.ask("/livez"))[0] == 200
    (service.trips / "curse").unlink()
    await service.finish()


async def test_a_lock_that_somebody_holds_delays_its_subject_alone(service: Service) -> None:
    url = make_url(service.settings.database_url.get_secret_value()).set(drivername="postgresql")
    stranger = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        await stranger.execute("select pg_advisory_lock($1)", lock_key("", "person-2"))
        people = pinned(service, 40)
        await service.produce(people)
        first_of_2 = next(place[2] for place, sent in service.history.acknowledged.items() if sent.key == b"person-2")

        consumer = service.start()
        await others_are_done(service, consumer, 2, first_of_2)
        await service.produce(pinned(service, 8))
        await others_are_done(service, consumer, 2, first_of_2)
        done = await service.rows("select subject from revocations")
        assert {row["subject"] for row in done} >= {f"person-{n}" for n in range(40) if n % 4 != 2}
        assert await consumer.metric('revoker_failures_total{kind="lock_timeout",lane="revocation"}') > 0
    finally:
        await stranger.close()

    await service.finish()
