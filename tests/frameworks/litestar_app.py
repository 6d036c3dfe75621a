"""The application as one writes it with Litestar."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, WebSocket, get, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.response import ServerSentEvent, Stream

from tests.frameworks.ends import ENDS, SIZE, events, lines


@get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


@post("/hello")
async def greet() -> dict[str, str]:
    return {"hello": "world"}


@get("/events")
async def sse(who: str) -> ServerSentEvent:
    async def told() -> AsyncIterator[str]:
        async for _ in events(who):
            yield "hello"

    return ServerSentEvent(told())


@get("/stream", media_type="application/x-ndjson")
async def stream(who: str) -> Stream:
    return Stream(lines(who))


@get("/download")
async def download(who: str) -> Stream:
    return Stream(lines(who), headers={"content-length": str(SIZE)})


@websocket("/socket")
async def echo(socket: WebSocket[Any, Any, Any], who: str) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect as disconnect:
        ENDS.append(("socket", who, disconnect.code))


app = Litestar([hello, greet, sse, stream, download, echo])
