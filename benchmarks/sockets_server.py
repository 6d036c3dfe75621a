"""A real server with many WebSockets open, which closes them all when told to (a line on standard input).

    python -m benchmarks.sockets_server product|bare PATH

`product`: behind the middleware, by one notification that the gateway is fed. `bare`: in a loop over what the server
gave for each. Both run the same application. Moments are of the monotonic clock, which all processes share.
"""

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any, Final

import uvicorn

from revoker.gateway import RevocationMiddleware, SessionClaims
from revoker.gateway.testing import TestGateway, ended

CODE: Final = 4401
CAUSE: Final = "password-changed"
_CLOSE: Final = {"type": "websocket.close", "code": CODE, "reason": CAUSE}


class Echo:
    """The application. Keeps what is open, for the loop."""

    def __init__(self) -> None:
        self.open: dict[int, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - of ASGI
        """ASGI 3."""
        del scope
        number = len(self.open)
        await receive()
        await send({"type": "websocket.accept"})
        self.open[number] = send
        while (await receive())["type"] != "websocket.disconnect":
            pass
        del self.open[number]


def identify(scope: Any) -> SessionClaims:  # noqa: ANN401 - as above
    """A device of one person each."""
    return SessionClaims(subject="alice", established_at=1.0, session_id=scope["path"])


async def main(side: str, path: str) -> None:
    """Serves until standard input ends."""
    echo, gateway = Echo(), TestGateway()
    app = RevocationMiddleware(echo, gateway, identify) if side == "product" else echo
    options: dict[str, Any] = {"log_level": "warning", "lifespan": "off", "ws_ping_interval": None, "backlog": 4096}
    server = uvicorn.Server(uvicorn.Config(app, uds=path, **options))
    serving = asyncio.create_task(server.serve())
    await gateway.start()
    await gateway.ready(10)
    while await asyncio.to_thread(sys.stdin.readline):
        sends = list(echo.open.values())
        notification = ended("alice", cause=CAUSE)
        # A full collection that happens to fall into one side's turn would be all that is measured.
        gc.collect()
        began = time.monotonic()
        if side == "product":
            await gateway.feed(notification)
        else:
            for send in sends:
                await send(_CLOSE)
        told = {"began": began, "done": time.monotonic(), "closed": len(sends)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    server.should_exit = True
    await serving
    os._exit(0)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], sys.argv[2]))
