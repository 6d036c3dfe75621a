"""The application as one writes it with Starlette."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.frameworks.ends import ENDS, SIZE, events, lines


async def hello(_: Request) -> Response:
    return JSONResponse({"hello": "world"})


async def sse(request: Request) -> Response:
    return StreamingResponse(events(request.query_params["who"]), media_type="text/event-stream")


async def stream(request: Request) -> Response:
    return StreamingResponse(lines(request.query_params["who"]), media_type="application/x-ndjson")


async def download(request: Request) -> Response:
    return StreamingResponse(lines(request.query_params["who"]), headers={"content-length": str(SIZE)})


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect as disconnect:
        ENDS.append(("socket", websocket.query_params["who"], disconnect.code))


app = Starlette(
    routes=[
        Route("/hello", hello, methods=["GET", "POST"]),
        Route("/events", sse),
        Route("/stream", stream),
        Route("/download", download),
        WebSocketRoute("/socket", echo),
    ]
)
