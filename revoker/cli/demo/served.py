"""A server of ours in the demo's own process: the page, the issuer. Up, noticed when it dies, and down again."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from revoker.embedded.ports import HOST
from revoker.serving import GuestServer

_GRACE_SECONDS: Final = 5
_STOP_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Served:
    """One that answers, or should."""

    title: str
    task: asyncio.Task[None]

    def why_broken(self) -> str | None:
        """Whether it has ended by itself."""
        return why_ended(self.task, self.title)


def why_ended(task: asyncio.Task[None], title: str) -> str | None:
    """What became of a task that should run until it is cancelled; None: it runs."""
    if not task.done():
        return None
    error = None if task.cancelled() else task.exception()
    return f"{title} ended" + (f": {type(error).__name__}: {error}" if error else "")


@asynccontextmanager
async def served(app: ASGIApp, port: int, title: str) -> AsyncIterator[Served]:
    """`app` on this machine's `port` for as long as the context lasts."""
    with socket.create_server((HOST, port)) as listening:
        server = GuestServer(
            uvicorn.Config(
                app,
                ws="websockets-sansio",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        task = asyncio.create_task(server.serve([listening]), name=title)
        try:
            yield Served(title, task)
        finally:
            server.should_exit = True
            await asyncio.wait([task], timeout=_STOP_SECONDS)
            task.cancel()
            # How it ended was told already, if it was not our doing.
            await asyncio.wait([task])
