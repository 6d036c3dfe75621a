"""The server's side of one ASGI connection, held by the test."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self

from revoker.gateway.asgi_guard import App, Message

DEADLINE: Final = 30.0


class Connection:
    """Hands over what the test puts into it, and keeps what is sent."""

    def __init__(self, app: App, scope: Mapping[str, Any]) -> None:
        self.sent: list[Message] = []
        self.reads = asyncio.Event()
        """Cleared: the client does not read, so that every send waits."""
        self.reads.set()
        self.wakes = False
        """Set: it tells the application of a close that it was asked for, as most servers do."""
        self._app = app
        self._scope = dict(scope)
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._told = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> Self:
        """Runs the application."""
        self.task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def _run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def over(self) -> list[Message]:
        """Waits for the application to return; what was sent."""
        assert self.task is not None
        async with asyncio.timeout(DEADLINE):
            await self.task
        return self.sent

    async def says(self, count: int) -> list[Message]:
        """Waits until so many messages were sent."""
        async with asyncio.timeout(DEADLINE):
            while len(self.sent) < count:
                self._told.clear()
                await self._told.wait()
        return self.sent

    def put(self, *messages: Message) -> Self:
        """What the application will receive."""
        for message in messages:
            self._incoming.put_nowait(message)
        return self

    async def _receive(self) -> Message:
        return await self._incoming.get()

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        self.sent.append(message)
        if self.wakes and message["type"] == "websocket.close":
            self.put({"type": "websocket.disconnect", "code": message["code"]})
        self._told.set()


def websocket(app: App, headers: Mapping[str, str], **more: Any) -> Connection:
    """A handshake that has just arrived."""
    connection = Connection(app, {"type": "websocket", "subprotocols": []} | _scope(headers) | more)
    return connection.put({"type": "websocket.connect"})


def http(app: App, headers: Mapping[str, str], method: str = "GET", **more: Any) -> Connection:
    """A request that has just arrived."""
    connection = Connection(app, {"type": "http", "method": method} | _scope(headers) | more)
    return connection.put({"type": "http.request", "body": b"", "more_body": False})


def _scope(headers: Mapping[str, str]) -> dict[str, Any]:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"path": "/", "query_string": b"", "headers": encoded, "client": ("192.0.2.7", 50_000)}
