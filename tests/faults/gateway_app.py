"""`uvicorn --factory tests.faults.gateway_app:make`: an application behind the middleware, to be flooded and starved.

Each socket is told first which process serves it. What the gateway knows of itself is told at `/-/health`, to anybody.
"""

import json
import os

import msgspec
import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from revoker.gateway import Gateway, RevocationMiddleware, bearer_claims
from revoker.gateway.asgi_guard import App


async def hello(_: Request) -> Response:
    return JSONResponse({"hello": "world"})


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(str(os.getpid()))
    async for word in websocket.iter_text():
        await websocket.send_text(word)


def make() -> App:
    """The application, with a gateway as the environment describes it."""
    gateway = Gateway.from_env("chat")

    async def health(_: Request) -> Response:
        told = msgspec.structs.asdict(gateway.health()) | {
            "progress": msgspec.structs.asdict(gateway.health().progress),
            "age": gateway.health().age if gateway.health().synced else None,
            "pid": os.getpid(),
            "open": len(gateway.connections),
            "index_bytes": gateway._instance.index.size_bytes,
            "memory": psutil.Process().memory_info().rss,
        }
        return Response(json.dumps(told), media_type="application/json")

    inner = Starlette(
        routes=[Route("/hello", hello), Route("/-/health", health), WebSocketRoute("/socket", echo)],
    )
    return RevocationMiddleware(inner, gateway, bearer_claims(cookie="session"))
