"""uvicorn in a loop that is ours: signals, logs and life cycle stay with whoever runs it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from revoker.errors import ConfigurationError
from revoker.serving import GuestServer

BACKLOG: Final = 2_048
_GRACE_SECONDS: Final = 5


@asynccontextmanager
async def answering(app: ASGIApp, listening: socket.socket, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Answers for as long as the context lasts. Sets `stopping` when it ends: streams must end before it can."""
    server = GuestServer(
        uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # Whom to believe about addresses is settled in [check].
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    task = asyncio.create_task(server.serve([listening]), name="http")
    try:
        yield
    finally:
        stopping.set()
        server.should_exit = True
        await asyncio.wait([task], timeout=2 * _GRACE_SECONDS)
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. uvicorn would leave the process when it gets none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigurationError(f"[http] cannot listen on {host}:{port}: {error.strerror}") from error
