"""The application as one writes it with FastAPI."""

from collections.abc import AsyncIterator

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from tests.frameworks.ends import ENDS, SIZE, events, lines

app = FastAPI()


@app.get("/hello")
@app.post("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/events", response_class=EventSourceResponse)
async def sse(who: str) -> AsyncIterator[str]:
    async for _ in events(who):
        yield "hello"


@app.get("/stream")
async def stream(who: str) -> StreamingResponse:
    return StreamingResponse(lines(who), media_type="application/x-ndjson")


@app.get("/download")
async def download(who: str) -> StreamingResponse:
    return StreamingResponse(lines(who), headers={"content-length": str(SIZE)})


@app.websocket("/socket")
async def echo(websocket: WebSocket, who: str) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect as disconnect:
        ENDS.append(("socket", who, disconnect.code))
