"""An application behind a real proxy behind `/check`: all that a test of a recipe needs but the recipe."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from revoker.api.app import Api
from revoker.api.callers import ByToken
from revoker.api.check import Check
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.networks import Networks
from revoker.api.server import answering, listen
from revoker.api.tokens import Verifier
from revoker.embedded.ports import free_ports
from revoker.gateway.testing import TestGateway
from revoker.settings import AuthSettings, CheckSettings, ClaimSettings
from tests.issuer import AUDIENCE, ISSUER, Issuer
from tests.processes import PATIENCE, ROOT, eventually
from tests.programs import Program

RECIPES: Final = ROOT / "docs/recipes"
PORTS: Final = {"proxy": 8000, "check": 8080, "cutter": 8081, "application": 9000}
"""As the recipes name them."""


@dataclass
class Scene:
    """Everything but the proxy."""

    folder: Path
    gateway: TestGateway
    issuer: Issuer
    ports: Mapping[str, int]
    check: AsyncExitStack
    """To be closed where `/check` is to be away."""
    proxy: str = field(default="", init=False)

    def recipe(self, name: str, **places: Path) -> Path:
        """The recipe of that name with the ports and places of this test."""
        text = (RECIPES / name).read_text()
        for what, port in PORTS.items():
            text = re.sub(rf"\b{port}\b", str(self.ports[what]), text)
        for place, path in places.items():
            text = text.replace(f"/{place.replace('_', '/')}/", f"{path}/")
        written = self.folder / name
        written.write_text(text)
        return written

    @asynccontextmanager
    async def behind(self, program: Program, *arguments: object) -> AsyncIterator["Scene"]:
        """With that proxy in front."""
        log = self.folder / "proxy.log"
        process = program.start(*arguments, log=log)
        self.proxy = f"127.0.0.1:{self.ports['proxy']}"

        async def answers() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.ports["proxy"])) == 0

        try:
            await eventually(answers, lambda: f"the proxy\n{log.read_text(errors='replace')[-3000:]}")
            yield self
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, PATIENCE)

    async def ask(
        self, token: str | None, path: str = "/orders/7?x=1", method: str = "GET", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return await client.request(
                method, f"http://{self.proxy}{path}", headers=headers | more.pop("headers", {}), **more
            )

    def socket(self, token: str) -> Any:
        """A WebSocket to the application."""
        return websockets.connect(
            f"ws://{self.proxy}/live",
            additional_headers={"Authorization": f"Bearer {token}"},
            open_timeout=PATIENCE,
            close_timeout=1,
            proxy=None,
        )


@asynccontextmanager
async def scene(folder: Path, **check: Any) -> AsyncIterator[Scene]:
    """The application and `/check`, listening."""
    settings = CheckSettings.model_validate(check)
    auth = AuthSettings(issuer=ISSUER, audience=AUDIENCE)
    issuer, gateway, metrics = Issuer(), TestGateway(mode=settings.mode), ApiMetrics()
    keys = Keys(auth, transport=httpx.ASGITransport(issuer))
    by_token = ByToken(Verifier(auth, keys), keys, settings, ClaimSettings())
    app = Check(gateway, by_token, Networks(()), metrics.answered, lets_anonymous_pass=False)
    proxy, cutter = free_ports(2)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(gateway)
        sockets = [listen("127.0.0.1", 0) for _ in range(2)]
        for one in sockets:
            stack.callback(one.close)
        checking = await stack.enter_async_context(AsyncExitStack())
        await checking.enter_async_context(answering(Api(app), sockets[0], asyncio.Event()))
        await stack.enter_async_context(_application(sockets[1]))
        at = [one.getsockname()[1] for one in sockets]
        ports = {"proxy": proxy, "check": at[0], "cutter": cutter, "application": at[1]}
        yield Scene(folder, gateway, issuer, ports, checking)


@asynccontextmanager
async def _application(listening: socket.socket) -> AsyncIterator[None]:
    app = Starlette(
        routes=[
            WebSocketRoute("/live", _echo),
            Route("/live/events", _events),
            Route("/{rest:path}", _told, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
    )
    config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = _Server(config)
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # the base says Generator
        """Signals are the test's."""
        return nullcontext()


async def _told(request: Request) -> Response:
    told = {"method": request.method, "path": request.url.path, "query": request.url.query}
    body = (await request.body()).decode()
    return JSONResponse(told | {"body": body, "headers": dict(request.headers)})


async def _events(_request: Request) -> Response:
    async def ticks() -> AsyncIterator[str]:
        while True:
            yield f"data: {json.dumps('tick')}\n\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(ticks(), media_type="text/event-stream")


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        await websocket.send_text(websocket.headers.get("x-revoker-subject", ""))
        async for message in websocket.iter_text():
            await websocket.send_text(message)
    except WebSocketDisconnect:
        pass
