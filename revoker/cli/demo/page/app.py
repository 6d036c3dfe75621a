"""The application, as any team would write one, and `RevocationMiddleware` around it.

`/device` is the application's socket: one a device, opened with the device's token as a subprotocol, since a browser
can set no header there. `/watch` is the page's own, for what a page cannot see by itself: who has signed in, how long
it took, how far a revocation has come. It carries no session, so no revocation ends it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from revoker.cli.demo.doors import guarded
from revoker.cli.demo.page.buttons import BUTTONS, SIGN_IN, Pressing, RefusedError
from revoker.cli.demo.page.cast import Cast
from revoker.gateway import Gateway, RevocationMiddleware, SessionClaims

SUBPROTOCOL: Final = "demo"
DEVICE_PATH: Final = "/device"
ENDED: Final = 4401
_FOLDER: Final = Path(__file__).parent
_MOST_BYTES: Final = 4_096
_QUIET: Final = "x-quiet"
"""A header of the page's script, which is told by `/watch` and wants no page in answer."""


def application(gateway: Gateway, cast: Cast, pressing: Pressing, state: Callable[[], Mapping[str, Any]]) -> ASGIApp:
    """All of it. `state` is what the page shows."""

    def identify(scope: Scope) -> SessionClaims | None:
        device = cast.shown(scope.get("subprotocols", ()))
        return None if device is None else device.claims

    inner = _Application(cast, pressing, state).routed()
    return guarded(Stopwatch(RevocationMiddleware(inner, gateway, identify), cast))


class Stopwatch:
    """Outside of the middleware, where the close frame of an ended session leaves."""

    def __init__(self, app: ASGIApp, cast: Cast) -> None:
        self._app = app
        self._cast = cast

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        device = self._cast.shown(scope.get("subprotocols", ())) if scope["type"] == "websocket" else None
        if device is None:
            await self._app(scope, receive, send)
            return
        was_open = False

        async def watched(message: Message) -> None:
            nonlocal was_open
            await send(message)
            if message["type"] == "websocket.send":
                was_open = True
            elif message["type"] == "websocket.close" and message.get("code") == ENDED:
                self._cast.closed(device, ENDED, time.perf_counter(), was_open=was_open)

        await self._app(scope, receive, watched)


class _Application:
    """The routes. It knows nothing of revocations."""

    def __init__(self, cast: Cast, pressing: Pressing, state: Callable[[], Mapping[str, Any]]) -> None:
        self._cast = cast
        self._pressing = pressing
        self._state = state
        self._pages = Jinja2Templates(_FOLDER / "templates")

    def routed(self) -> Starlette:
        """As an application."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/people/{subject}", self._press, methods=["POST"]),
                WebSocketRoute(DEVICE_PATH, self._device),
                WebSocketRoute("/watch", self._watch),
                Mount("/static", StaticFiles(directory=_FOLDER / "static")),
            ]
        )

    async def _page(self, request: Request) -> Response:
        return self._pages.TemplateResponse(
            request, "page.html", {"state": self._state(), "buttons": BUTTONS, "sign_in": SIGN_IN}
        )

    async def _press(self, request: Request) -> Response:
        subject = request.path_params["subject"]
        if subject not in self._cast:
            raise HTTPException(404)
        fields = await _fields(request)
        try:
            await self._pressing.press(subject, fields.get("do", ""), fields.get("device", ""))
        except RefusedError as error:
            return PlainTextResponse(str(error), 409)
        return Response(status_code=204) if _QUIET in request.headers else RedirectResponse("/", 303)

    async def _device(self, websocket: WebSocket) -> None:
        """An application would have more to say here."""
        device = self._cast.shown(websocket.scope["subprotocols"])
        if device is None:
            await websocket.close(1008, "unknown device")
            return
        await websocket.accept(SUBPROTOCOL)
        with suppress(WebSocketDisconnect):
            await websocket.send_json({"signed in as": device.subject, "on": device.word})
            await _until_gone(websocket)

    async def _watch(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with self._cast.watching() as changed:
            gone = asyncio.create_task(_until_gone(websocket))
            gone.add_done_callback(lambda _: changed.set())
            try:
                while not gone.done():
                    changed.clear()
                    await websocket.send_json(self._state())
                    await changed.wait()
            except WebSocketDisconnect:
                pass
            finally:
                gone.cancel()


async def _until_gone(websocket: WebSocket) -> None:
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.receive_text()


async def _fields(request: Request) -> dict[str, str]:
    """Of a small form."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise HTTPException(413)
    return {name: values[-1] for name, values in parse_qs(body.decode(errors="replace")).items()}
