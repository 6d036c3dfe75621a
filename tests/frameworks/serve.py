"""`python -m tests.frameworks.serve FRAMEWORK SERVER SOCKET`: an application behind the middleware, on a real server.

What the test wants to do to the gateway it asks for under `/-/`, outside of the middleware.
"""

import importlib
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from revoker.gateway import RevocationMiddleware, bearer_claims
from revoker.gateway.asgi_guard import App, Receive, Scope, Send
from revoker.gateway.testing import TestGateway
from tests.frameworks.ends import ENDS


class Remote:
    """Around the middleware."""

    def __init__(self, app: App, gateway: TestGateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "/-/feed": self._feed,
            "/-/ends": self._ends,
            "/-/open": self._open,
        }
        do = asked.get(scope.get("path", ""))
        if do is None:
            await self._app(scope, receive, send)
            return
        body = json.dumps(await do((await receive()).get("body", b""))).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _feed(self, body: bytes) -> None:
        await self._gateway.start()
        await self._gateway.feed(body)

    async def _ends(self, _: bytes) -> list[tuple[str, str, int | None]]:
        return ENDS

    async def _open(self, _: bytes) -> int:
        return len(self._gateway.connections)


def main(framework: str, server: str, descriptor: int) -> None:
    inner: App = importlib.import_module(f"tests.frameworks.{framework}_app").app
    gateway = TestGateway()
    app = Remote(RevocationMiddleware(inner, gateway, bearer_claims(cookie="session")), gateway)
    if server == "daphne":
        from daphne.server import Server  # type: ignore[import-untyped] # noqa: PLC0415 - it installs a reactor

        Server(app, endpoints=[f"fd:fileno={descriptor}"], websocket_handshake_timeout=30).run()
    else:
        import uvicorn  # noqa: PLC0415 - only one of the two

        uvicorn.run(app, fd=descriptor, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
