"""Clients that come again and again, and an application of many processes: each try is refused, each socket is cut."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from schemas.topics import Topic
from tests.faults.gateway_crowd import change_password, closed, lives, shown
from tests.faults.gateway_served import App, served
from tests.faults.history import Service
from tests.frameworks.served import Person
from tests.processes import PATIENCE, environment, eventually

TRIES = 2_000
"""Of each kind."""
LOOPS = 8
A_TENTH_BEFORE = 300
GROWTH = 24 * 1024 * 1024
WORKERS = 8
RECEIPTS_A_SECOND = 4


@pytest.mark.timeout(240)
async def test_who_comes_again_and_again_is_refused_each_time_and_keeps_nobody_waiting(
    service: Service, tmp_path: Path
) -> None:
    alice, bob = Person(), Person()
    codes: list[int | None] = []

    async def knocks(app: App, tries: int) -> None:
        for _ in range(tries // 2):
            codes.extend([await app.knock(alice), (await app.request(alice))[0]])

    async with served(environment(service.settings), tmp_path) as app, app.socket(bob) as socket:
        consumers = service.run()
        await consumers.until("service-started")
        await app.until(lambda health: health["state"] == "serving")
        id_ = await change_password(service, alice)

        async def is_refused() -> bool:
            return (await app.request(alice))[0] == 401

        await eventually(is_refused, "alice to be refused")
        await knocks(app, A_TENTH_BEFORE)
        before = await app.health()
        codes.clear()

        assert str(await socket.recv()).isdecimal()
        rounds = 0
        async with asyncio.TaskGroup() as loops:
            tasks = [loops.create_task(knocks(app, 2 * TRIES // LOOPS)) for _ in range(LOOPS)]
            while not all(task.done() for task in tasks):
                assert await lives(socket, f"word-{rounds}")
                assert (await app.request(bob))[0] == 200
                assert (await app.request(None))[0] == 200
                rounds += 1
        after = await app.health()
        found = await shown(
            service, id_, lambda told: sum(one["refused"] for one in told["enforcement"]["instances"]) >= app.knocks
        )

    assert {code: codes.count(code) for code in set(codes)} == {401: TRIES, 4401: TRIES}
    assert rounds > TRIES // 100
    assert after["open"] == 1
    assert after["memory"] - before["memory"] < GROWTH
    [chat] = found["enforcement"]["instances"]
    assert (chat["refused"], chat["last_ip"], chat["contradicts"]) == (app.knocks, "127.0.0.1", False)

    records = await service.read(Topic.GATEWAY_RECEIPTS)
    receipts = [json.loads(record.value)["data"] for record in records]
    told = [receipt["refused"] for receipt in receipts if receipt["refused"]]
    assert all(len(entries) == 1 for entries in told)
    seconds = (records[-1].timestamp - records[0].timestamp) / 1000
    assert len(records) <= RECEIPTS_A_SECOND * seconds + 2


@pytest.mark.timeout(300)
async def test_one_revocation_cuts_the_sockets_of_all_eight_processes(service: Service, tmp_path: Path) -> None:
    alice, bob = Person(), Person()
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(served(environment(service.settings), tmp_path, workers=WORKERS))
        consumers = service.run()
        await consumers.until("service-started")
        sockets: dict[str, dict[str, ClientConnection]] = {}

        async def opened(person: Person) -> None:
            websocket = await stack.enter_async_context(app.socket(person))
            async with asyncio.timeout(PATIENCE):
                pid = str(await websocket.recv())
            sockets.setdefault(pid, {})[f"{person.name} {len(sockets.get(pid, ()))}"] = websocket

        async def everywhere() -> bool:
            # Whichever process wakes first takes a connection; of many at once each gets some.
            await asyncio.gather(*(opened(person) for _ in range(WORKERS) for person in (alice, bob)))
            whose = [{name.split()[0] for name in there} for there in sockets.values()]
            return len(whose) == WORKERS and all(len(names) == 2 for names in whose)

        await eventually(everywhere, lambda: {pid: list(there) for pid, there in sockets.items()}, 2 * PATIENCE)

        async def all_serve() -> bool:
            [[count]] = await service.rows("select count(*) from gateways where state = 'serving' and left_at is null")
            return bool(count == WORKERS)

        await eventually(all_serve, "eight instances")
        id_ = await change_password(service, alice)

        everyone = [item for there in sockets.values() for item in there.items()]
        hers = [websocket for name, websocket in everyone if name.startswith(alice.name)]
        assert set(await asyncio.gather(*map(closed, hers))) == {(4401, "password-changed")}
        his = [websocket for name, websocket in everyone if name.startswith(bob.name)]
        assert all(await asyncio.gather(*(lives(websocket, "still there") for websocket in his)))
        assert await app.knock(alice) == 4401
        found = await shown(service, id_, lambda told: told["state"] == "enforced")

    at = found["enforcement"]["instances"]
    assert {one["instance"].rpartition("-")[2] for one in at} == set(sockets)
    assert {one["how"] for one in at} == {"past"}
    cut = {one["instance"].rpartition("-")[2]: one["connections_dropped"] for one in at}
    assert cut == {pid: sum(name.startswith(alice.name) for name in there) for pid, there in sockets.items()}
