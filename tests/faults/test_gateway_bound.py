"""An index at its memory bound forgets nobody and is loud; what it cannot take in is not enforced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from revoker.core.index import Index
from tests import feeding
from tests.faults.gateway_crowd import change_password, closed, lives, shown
from tests.faults.gateway_served import App, served
from tests.faults.history import Service
from tests.frameworks.served import Person
from tests.processes import environment

BOUND = Index().size_bytes + 100_000
A_RECORD = 10_000
"""It looks before each record, and there is room for the last."""
EARLY, BOB = Person(name="early"), Person(name="bob")


@asynccontextmanager
async def filled(service: Service, folder: Path, mode: str) -> AsyncIterator[tuple[App, ClientConnection, str]]:
    """The application, a socket of bob's, and the revocation that came after the index was full."""
    env = environment(service.settings) | {
        "REVOKER_GATEWAY_MODE": mode,
        "REVOKER_GATEWAY_MAX_BYTES": str(BOUND),
        # Not for its age, which grows too, it is to refuse.
        "REVOKER_GATEWAY_MAX_STALENESS": "600",
    }
    consumers = service.run()
    await consumers.until("service-started")
    async with (
        feeding.topics(service.settings.kafka_bootstrap_servers, service.settings.topic_prefix) as topics,
        served(env, folder) as app,
    ):
        await app.until(lambda health: health["state"] == "serving")
        await topics.end(feeding.notice(EARLY.name, EARLY.session_id))
        async with app.socket(BOB) as socket:
            assert str(await socket.recv()).isdecimal()
            await topics.end(
                *[feeding.notice(f"user-{number}", *[f"s-{number}-{i}" for i in range(20)]) for number in range(400)]
            )
            await app.until(lambda health: "index is full" in (health["error"] or ""))
            yield app, socket, await change_password(service, Person())


async def names_whom_it_waits_for(service: Service, id_: str) -> None:
    found = await shown(service, id_, lambda told: told["enforcement"]["stage"] == "waiting")
    assert [(one["gateway"], one["how"]) for one in found["enforcement"]["waiting_for"]] == [("chat", "behind")]


@pytest.mark.timeout(240)
async def test_a_strict_one_cuts_and_refuses_everybody_and_says_why(service: Service, tmp_path: Path) -> None:
    async with filled(service, tmp_path, "strict") as (app, socket, id_):
        assert await closed(socket) == (4503, "stale")
        assert (await app.request(BOB))[0] == 503
        assert (await app.request(EARLY))[0] == 401
        assert (await app.request(None))[0] == 200
        await names_whom_it_waits_for(service, id_)
        assert (await app.health())["index_bytes"] < BOUND + A_RECORD
    assert "index-full" in app.process.said


@pytest.mark.timeout(240)
async def test_a_best_effort_one_serves_on_what_it_knows_and_says_so(service: Service, tmp_path: Path) -> None:
    async with filled(service, tmp_path, "best_effort") as (app, socket, id_):
        assert await lives(socket, "still there")
        assert (await app.request(BOB))[0] == 200
        assert (await app.request(EARLY))[0] == 401
        await names_whom_it_waits_for(service, id_)
        assert (await app.health())["index_bytes"] < BOUND + A_RECORD
        assert "index is full" in (await app.health())["error"]
    assert "index-full" in app.process.said
