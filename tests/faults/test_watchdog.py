"""A process that is stuck says so and ends; one whose database is away waits. The limits are shortened here."""

import json
import time
from typing import Any, Final

import pytest

from revoker.embedded import EmbeddedPostgres
from tests import servers
from tests.faults.conftest import Found
from tests.faults.history import Service
from tests.processes import Process, eventually

EXIT_STUCK: Final = 70
STUCK_SECONDS: Final = 1.5
UNHURRIED_SECONDS: Final = 5.0
"""What a batch on a busy machine never takes."""


@pytest.fixture
async def remote(own_postgres: EmbeddedPostgres, found: Found) -> Service:
    """A world whose database can be killed."""
    return await found(database_url=servers.new_database(own_postgres.url, "postgres"))


async def test_a_batch_that_hangs_is_reported_and_ends_the_process(service: Service) -> None:
    await service.produce(service.load.take(60))
    service.arm("hang")
    process = service.start(stuck_seconds=STUCK_SECONDS)
    await service.busy(process)

    status, body = await unless_alive(process)
    assert status == 503
    assert "one batch since" in json.loads(body)["reason"]
    assert process.code is None, "it is to be seen before it ends"
    assert await process.gone() == EXIT_STUCK, process.said[-3000:]
    assert process.events("stuck")[-1]["exit_code"] == EXIT_STUCK

    service.disarm("hang")
    service.start()
    await service.finish()


async def test_an_event_loop_that_does_not_turn_ends_the_process(service: Service) -> None:
    await service.produce(service.load.take(60))
    service.arm("block")
    process = service.start(stuck_seconds=STUCK_SECONDS)

    assert await process.gone() == EXIT_STUCK, process.said[-3000:]
    assert "event loop" in process.events("stuck")[-1]["reason"]

    service.disarm("block")
    service.start()
    await service.finish()


async def test_offsets_that_kafka_did_not_take_are_committed_though_no_record_follows(service: Service) -> None:
    await service.produce(service.load.take(60))
    process = service.start()
    await service.settled()
    service.arm("deaf")
    await service.produce(service.load.take(60))

    async def refused() -> bool:
        return len(process.events("batch-failed")) >= 2

    await eventually(refused, lambda: process.said[-3000:])
    service.disarm("deaf")

    await service.finish()


async def test_offsets_that_are_never_taken_end_the_process(service: Service) -> None:
    await service.produce(service.load.take(60))
    process = service.start(stuck_seconds=STUCK_SECONDS)
    await service.settled()
    service.arm("deaf")
    await service.produce(service.load.take(60))

    assert await process.gone() == EXIT_STUCK, process.said[-3000:]
    assert "has not taken offsets" in process.events("stuck")[-1]["reason"]

    service.disarm("deaf")
    service.start()
    await service.finish()


async def test_a_database_that_is_away_is_waited_for(remote: Service, own_postgres: EmbeddedPostgres) -> None:
    await remote.produce(remote.load.take(60))
    process = remote.start(stuck_seconds=UNHURRIED_SECONDS)
    await remote.settled()
    assert await ready(process) == (200, {"kafka": True, "database": True, "redis": False})

    await own_postgres.kill()
    await remote.produce(remote.load.take(60))
    await process.until("partition-paused")
    until = time.monotonic() + 2.5 * UNHURRIED_SECONDS
    while time.monotonic() < until:
        assert (await process.ask("/livez"))[0] == 200, process.said[-3000:]
        assert await ready(process) == (503, {"kafka": True, "database": False, "redis": False})
    assert process.code is None

    await own_postgres.restart()
    await remote.settled()
    assert await ready(process) == (200, {"kafka": True, "database": True, "redis": False})
    assert not process.events("stuck")
    await remote.finish()


async def unless_alive(process: Process) -> tuple[int, str]:
    """What `/livez` says once it is not that all is well."""

    async def said() -> tuple[int, str] | None:
        status, body = await process.ask("/livez")
        return None if status == 200 else (status, body)

    return await eventually(said, lambda: f"/livez to complain\n{process.said[-3000:]}")


async def ready(process: Process) -> tuple[int, dict[str, Any]]:
    """What `/readyz` says, and of which dependency."""
    status, body = await process.ask("/readyz")
    return status, {name: check["ok"] for name, check in json.loads(body)["checks"].items()}
