"""The devices of the story at the demo gateway: a WebSocket each, until it is closed on them or the story is over."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from revoker.cli.demo.page import Page
from revoker.cli.demo.page.app import DEVICE_PATH, SUBPROTOCOL
from revoker.cli.demo.page.cast import Device
from revoker.errors import UnavailableError

_PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Closed:
    """What a device was told when its socket was closed, and when."""

    code: int
    reason: str
    at: float


class Sockets:
    """All of them, by session."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: dict[str, ClientConnection] = {}
        self._ends: dict[str, asyncio.Task[Closed]] = {}

    async def open(self, device: Device) -> None:
        """Returns when the application has answered."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            socket = await connect(
                f"ws{self._page.origin.removeprefix('http')}{DEVICE_PATH}",
                origin=Origin(self._page.origin),
                subprotocols=[Subprotocol(SUBPROTOCOL), Subprotocol(device.token)],
                compression=None,
                proxy=None,
            )
            self._open[device.session_id] = socket
            await socket.recv()
        self._ends[device.session_id] = asyncio.create_task(_end_of(socket))

    async def ends(self, session_ids: Iterable[str]) -> list[Closed]:
        """How those of these sessions ended that were open. Raises `UnavailableError` when one does not end."""
        awaited = [self._ends[id_] for id_ in session_ids if id_ in self._ends]
        if not awaited:
            return []
        _, open_still = await asyncio.wait(awaited, timeout=_PATIENCE_SECONDS)
        if open_still:
            raise UnavailableError(f"a socket of an ended session was still open after {_PATIENCE_SECONDS:g} s")
        return [task.result() for task in awaited]

    async def close(self) -> None:
        """Those that are still open."""
        for task in self._ends.values():
            task.cancel()
        await asyncio.gather(*self._ends.values(), return_exceptions=True)
        await asyncio.gather(*(socket.close() for socket in self._open.values()), return_exceptions=True)


async def _end_of(socket: ClientConnection) -> Closed:
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        at = time.perf_counter()
        frame = closed.rcvd
        return Closed(frame.code, frame.reason, at) if frame else Closed(1006, "", at)


@asynccontextmanager
async def connected(page: Page) -> AsyncIterator[Sockets]:
    """None yet; all closed at the end."""
    sockets = Sockets(page)
    try:
        yield sockets
    finally:
        await sockets.close()
