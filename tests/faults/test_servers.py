"""Servers die and come back, members come, go and freeze: what was acknowledged is applied and announced."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from revoker.embedded import EmbeddedKafka, EmbeddedPostgres
from tests.faults.conftest import Found
from tests.faults.history import Service
from tests.processes import Process, eventually

AWAY_SECONDS = 15
GRACE_SECONDS = 30


@asynccontextmanager
async def load(service: Service, count: int = 30, pause: float = 0.25) -> AsyncIterator[None]:
    """Traffic until the end of the context, whether Kafka takes it or not."""
    over = asyncio.Event()

    async def say() -> None:
        while not over.is_set():
            await service.produce(service.load.take(count))
            await asyncio.sleep(pause)

    talk = asyncio.create_task(say())
    try:
        yield
    finally:
        over.set()
        await talk


async def progress(service: Service) -> None:
    """Returns once something more was applied."""
    before = await applied(service)

    async def more() -> bool:
        return await applied(service) > before

    await eventually(more, lambda: service.about([process.said[-1500:] for process in service.processes]))


async def applied(service: Service) -> int:
    return sum(row[0] for row in await service.rows("select next_offset from lane_positions"))


@pytest.mark.timeout(240)
async def test_kafka_is_killed_and_comes_back_under_load(found: Found, own_kafka: EmbeddedKafka) -> None:
    service = await found(kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    consumer = service.start(session_timeout_ms=6_000)
    async with load(service):
        for _ in range(2):
            await progress(service)
            await own_kafka.kill()
            await asyncio.sleep(1)
            await own_kafka.restart()
        await progress(service)

    await service.finish(90)

    assert consumer.code == 0


@pytest.mark.timeout(240)
async def test_postgres_is_killed_stays_away_and_comes_back_under_load(
    found: Found, own_postgres: EmbeddedPostgres
) -> None:
    service = await found(database_url=own_postgres.url)
    consumer = service.start()
    async with load(service):
        await progress(service)
        await own_postgres.kill()
        await own_postgres.restart()
        await progress(service)
        assert (await consumer.ask("/readyz"))[0] == 200
        failures = len(consumer.events("batch-failed"))

        await own_postgres.kill()
        await says(consumer, "/readyz", 503)
        await asyncio.sleep(AWAY_SECONDS)
        assert (await consumer.ask("/livez"))[0] == 200, "a restart would not bring the database back"
        assert (await consumer.ask("/readyz"))[0] == 503
        # Four partitions of two lanes, half a second at first, then twice as long each time.
        assert len(consumer.events("batch-failed")) - failures < 80, "it does not back off"
        await own_postgres.restart()
        await says(consumer, "/readyz", 200)
        await progress(service)

    await service.finish(90)


async def says(process: Process, path: str, status: int) -> None:
    async def answer() -> bool:
        return (await process.ask(path))[0] == status

    await eventually(answer, f"{path} to answer {status}")


@pytest.mark.timeout(240)
async def test_members_join_and_leave_in_good_order_under_load(service: Service) -> None:
    """SIGTERM finishes the batch in hand, and says so, whoever is left."""
    first = service.start()
    async with load(service):
        await progress(service)
        for _ in range(3):
            second = service.start()
            await service.busy(second)
            await progress(service)
            first.signal(signal.SIGTERM)
            assert await first.gone(25) == 0, service.about(first.said[-3000:])
            await progress(service)
            first = second

    await service.finish()

    assert not [event for process in service.processes for event in process.events("crashed")]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("step", ["before-commit", "after-commit", "after-mark"])
async def test_a_member_that_froze_and_wakes_up_after_others_took_over_harms_nothing(
    service: Service, step: str
) -> None:
    """Before the commit it holds locks, which PostgreSQL takes away from it."""
    env = {"REVOKER_LIMITS__STATEMENT_TIMEOUT": "PT2S"}
    service.arm(f"revocation.{step}.stop")
    await service.produce(service.load.take(200))
    sleeper = service.start(env=env)
    await service.busy(sleeper)
    await eventually(lambda: stopped(sleeper), "the member to freeze")
    service.start(env=env)
    await service.settled(90)
    await service.produce(service.load.take(200))
    sleeper.signal(signal.SIGCONT)
    await service.produce(service.load.take(200))

    await service.finish(90)


async def stopped(process: Process) -> bool:
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as status:  # noqa: ASYNC230, PTH123 - it is in memory
        return status.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.timeout(240)
async def test_a_process_ends_in_time_though_every_server_is_away(
    found: Found, own_kafka: EmbeddedKafka, own_postgres: EmbeddedPostgres
) -> None:
    service = await found(kafka_bootstrap_servers=own_kafka.bootstrap_servers, database_url=own_postgres.url)
    consumer = service.start(session_timeout_ms=6_000)
    await service.produce(service.load.take(300))
    await service.busy(consumer)
    await consumer.until("service-started")
    await asyncio.gather(own_kafka.kill(), own_postgres.kill())

    consumer.signal(signal.SIGTERM)

    assert await consumer.gone(GRACE_SECONDS) == 0, service.about(consumer.said[-3000:])
    await asyncio.gather(own_kafka.restart(), own_postgres.restart())
    service.start(session_timeout_ms=6_000)
    await service.finish(90)
