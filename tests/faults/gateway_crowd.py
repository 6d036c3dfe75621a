"""What a test of a gateway at work does and asks: a password change, what responders see of it, and open sockets."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from schemas.topics import Topic
from tests.faults.history import Service
from tests.faults.load import Sent
from tests.frameworks.served import Person
from tests.integration.cli_worker import run
from tests.processes import PATIENCE, environment, eventually


async def change_password(service: Service, person: Person) -> str:
    """The id of the revocation."""
    event = {"specversion": "1.0", "type": "password-changed", "source": "login", "id": "e-1", "subject": person.name}
    sent = Sent(topic=Topic.IDENTITY_EVENTS, value=json.dumps(event).encode(), key=person.name.encode())
    await service.produce([sent])
    [[id_]] = await eventually(lambda: service.rows("select id::text from revocations"), "the revocation")
    return str(id_)


async def shown(service: Service, id_: str, is_so: Callable[[Any], bool]) -> Any:
    """What `revoker revocations ID` says once it is so."""
    last: list[Any] = []

    async def asked() -> Any:
        last[:] = [(await run(environment(service.settings), "revocations", id_, "--json")).json]
        return last[0] if is_so(last[0]) else None

    return await eventually(asked, lambda: json.dumps(last, indent=1)[:6000])


async def lives(websocket: ClientConnection, word: str) -> bool:
    async with asyncio.timeout(PATIENCE):
        await websocket.send(word)
        return await websocket.recv() == word


async def closed(websocket: ClientConnection) -> tuple[int, str]:
    """The code and the reason that the server closes it with."""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionClosed):
            while True:
                await websocket.recv()
    assert websocket.close_code is not None
    return websocket.close_code, websocket.close_reason or ""
